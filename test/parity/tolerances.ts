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
/**
 * The same relative to what training changed, a far smaller norm. The reference's two attention paths differ by 8e-6; ours from it
 * by 1e-6 to 2.5e-5 over 21 random models. AdamW divides by the gradient's own size, so a gradient near zero can swing an update.
 */
export const F32_ADAPTER_CHANGE = 3e-4;

/**
 * bf16 end to end, all layers and cases together, against transformers in bf16. 8 bits of mantissa, 2^-9 = 2e-3 a rounding,
 * some ten roundings a block: the reference's two attention paths differ by 1e-2 in single rows of these models.
 */
export const BF16_OF_REFERENCE = 2e-2;
/** Log-probabilities of one position in bf16: a single row is noisier than the whole. */
export const BF16_LOGITS = 4e-2;
/** Error against f32, as a multiple of transformers' own bf16 error against f32: equal up to sampling noise. */
export const BF16_REFERENCE_SLACK = 1.25;
/**
 * LoRA gradients in bf16: error against the f32 gradient, as a multiple of transformers' own. On these toys of random weights the
 * reference itself errs by 1.3e-2 to 7e-2, so a fixed bound would measure the toy. Over 28
 * random models the ratio's geometric mean was 0.86 to 1.2 by shape and 1.0 in all; a single gradient scatters by a factor of 2.
 */
export const BF16_GRADIENT_SLACK = 1.15;
export const BF16_GRADIENT_SLACK_OF_ONE = 2.2;
/** Direction of the bf16 gradient against the f32 one; the reference's own falls to 0.9985 here. */
export const BF16_GRADIENT_COSINE = 0.997;

/** f64 engine against the plain f64 twin: sums in another order, 1e-16 times some hundred terms and five blocks. */
export const F64 = 1e-10;
