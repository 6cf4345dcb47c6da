/**
 * The bytes of base64 text in its one canonical form, or null. Both alphabets that DSSE allows are taken, each
 * with its padding; blanks, missing padding, mixed alphabets and stray bits in the last character are not: of two
 * texts with the same bytes only one may pass.
 */
export function decodeCanonicalBase64(text: string): Buffer | null {
  const bytes = Buffer.from(text, 'base64');
  const standard = bytes.toString('base64');
  const urlSafe = standard.replaceAll('+', '-').replaceAll('/', '_');
  return text === standard || text === urlSafe ? bytes : null;
}
