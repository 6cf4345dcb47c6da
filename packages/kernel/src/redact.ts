/**
 * Secrets are registered when they are read; every error, log line and JSON document passes
 * through `redact` before it leaves the process. Besides the registered values, whatever stands
 * behind `PVEAPIToken=…` or `Bearer ` is removed even if nobody registered it.
 */
const secrets = new Set<string>();
/** A secret that is part of a longer one must not be taken out first: the rest of the longer one would stay. */
let longestFirst: readonly string[] = [];
const shortest = 6;

/** Makes `value` unprintable from now on. Values under six characters are ignored: they would blank ordinary words. */
export function registerSecret(value: string): void {
  const text = value.trim();
  if (text.length < shortest) return;
  const pveSecret = text.includes('!') ? (text.split('=').at(-1) ?? '') : '';
  for (const secret of [text, pveSecret]) {
    if (secret.length < shortest) continue;
    // As it stands in a text, in a URL, in JSON.
    for (const form of [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]) secrets.add(form);
  }
  longestFirst = [...secrets].toSorted((a, b) => b.length - a.length);
}

/** `text` without any registered secret and without authorization headers. */
export function redact(text: string): string {
  let clean = text.replaceAll(/(PVEAPIToken(?:=|\s)\s*[^\s=]+=|Bearer\s+)[^\s"',]+/gi, '$1[redacted]');
  for (const secret of longestFirst) clean = clean.replaceAll(secret, '[redacted]');
  return clean;
}

/** For tests alone: forgets every registered secret. */
export function forgetSecrets(): void {
  secrets.clear();
  longestFirst = [];
}
