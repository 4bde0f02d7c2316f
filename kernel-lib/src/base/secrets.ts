/**
 * Takes access tokens out of text before it is shown, logged or stored.
 *
 * Known values (HF_TOKEN and its older names) and anything that looks like a hub token or a password inside an address.
 */

const TOKEN_VARIABLES = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN"];

/**
 * `text` with secrets replaced by "***".
 *
 * @param known further secret values to remove, such as a token read from a file
 *
 * @example
 * scrubSecrets("Bearer hf_abcdefghijklmnopqrstuvwx"); // "Bearer ***"
 */
export function scrubSecrets(
  text: string,
  known: readonly (string | null)[] = [],
  env: NodeJS.ProcessEnv = process.env,
): string {
  const values = [...known, ...TOKEN_VARIABLES.map((name) => env[name] ?? null)];
  let out = text;
  for (const value of values) if (value !== null && value.length >= 4) out = out.replaceAll(value, "***");
  return out.replace(/\bhf_[A-Za-z0-9]{16,}/g, "***").replace(/(\w+:\/\/)[^\s/@]+@/g, "$1***@");
}
