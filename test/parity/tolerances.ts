/** Every tolerance of the parity suites, each with its reason. Norm-relative unless it says otherwise. */

/** Residual stream, keys and values in f32. The reference's own two attention paths (sdpa, eager) differ by 4e-7 here. */
export const F32_HIDDEN = 1e-4;
/** Largest |delta log-probability| in f32: the project's promise. */
export const F32_LOGPROB = 1e-4;
/** LoRA gradients in f32, per tensor. The reference's two attention paths differ by 4e-6. */
export const F32_GRADIENT = 1e-4;
/** Losses in f32, absolute, nats. */
export const F32_LOSS = 1e-4;
/** Trained adapters in f32, all tensors together: the project's promise. */
export const F32_ADAPTER = 1e-4;
/** The same relative to what training changed, a far smaller norm. The reference's two attention paths differ by 8e-6. */
export const F32_ADAPTER_CHANGE = 1e-4;

/**
 * bf16 end to end, all layers and cases together, against transformers in bf16. 8 bits of mantissa, 2^-9 = 2e-3 a rounding,
 * some ten roundings a block: the reference's two attention paths differ by 1e-2 in single rows of these models.
 */
export const BF16_OF_REFERENCE = 2e-2;
/** Log-probabilities of one position in bf16: a single row is noisier than the whole. */
export const BF16_LOGITS = 4e-2;
/** Error against f32, as a multiple of transformers' own bf16 error against f32: equal up to sampling noise. */
export const BF16_REFERENCE_SLACK = 1.25;
/** Gradients in bf16, all tensors together: toys of random weights amplify rounding more than trained models do. */
export const BF16_GRADIENT_SLACK = 1.5;
/** Direction of the bf16 gradient against the f32 one. */
export const BF16_GRADIENT_COSINE = 0.99;

/** f64 engine against the plain f64 twin: sums in another order, 1e-16 times some hundred terms and five blocks. */
export const F64 = 1e-10;
