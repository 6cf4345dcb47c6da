/**
 * Secrets are registered when they are read; every error, log line and JSON document passes
 * through `redact` before it leaves the process. Besides the registered values, whatever stands
 * behind `PVEAPIToken=…` or `Bearer ` is removed even if nobody registered it.
 */
const secrets = new Set<string>();
const shortest = 6;

/** Makes `value` unprintable from now on. Values under six characters are ignored: they would blank ordinary words. */
export function registerSecret(value: string): void {
  const text = value.trim();
  if (text.length < shortest) return;
  secrets.add(text);
  secrets.add(encodeURIComponent(text));
  const pveSecret = text.split('=').at(-1);
  if (text.includes('!') && pveSecret !== undefined && pveSecret.length >= shortest) secrets.add(pveSecret);
}

/** `text` without any registered secret and without authorization headers. */
export function redact(text: string): string {
  let clean = text.replaceAll(/(PVEAPIToken(?:=|\s)\s*[^\s=]+=|Bearer\s+)[^\s"',]+/g, '$1[redacted]');
  for (const secret of secrets) clean = clean.replaceAll(secret, '[redacted]');
  return clean;
}

/** For tests alone: forgets every registered secret. */
export function forgetSecrets(): void {
  secrets.clear();
}
