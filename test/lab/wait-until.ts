/**
 * Looks again and again until `look` answers something other than `undefined` or `false`.
 * @throws an error that names what was waited for, after `boundMs`.
 */
export async function waitUntil<T>(
  what: string,
  look: () => T | Promise<T>,
  { boundMs = 30_000, everyMs = 20 }: { boundMs?: number; everyMs?: number } = {},
): Promise<Exclude<T, undefined | false>> {
  const end = performance.now() + boundMs;
  for (;;) {
    const found = await look();
    if (isSomething(found)) return found;
    if (performance.now() > end) throw new Error(`waited ${boundMs} ms in vain until ${what}`);
    await new Promise((done) => setTimeout(done, everyMs));
  }
}

function isSomething<T>(found: T): found is Exclude<T, undefined | false> {
  return found !== undefined && found !== false;
}
