/** Docker names a volume that nobody named by 64 hexadecimal digits. */
export function isAnonymous(volume: string): boolean {
  return /^[0-9a-f]{64}$/.test(volume);
}
