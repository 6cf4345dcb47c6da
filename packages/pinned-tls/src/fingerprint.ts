/** `AB:CD:…` of a SHA-256 fingerprint in any spelling (`sha256:`, lower case, no colons); undefined when it is none. */
export function canonicalFingerprint(text: string): string | undefined {
  const digits = text
    .replace(/^sha256:/i, '')
    .replaceAll(/[:\s]/g, '')
    .toUpperCase();
  return /^[0-9A-F]{64}$/.test(digits) ? (digits.match(/../g) ?? []).join(':') : undefined;
}
