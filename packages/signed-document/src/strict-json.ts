/**
 * JSON whose meaning nobody can dispute. JSON.parse takes the last of two equal keys, another reader the first:
 * who signs and who acts would see different documents. So equal keys are refused, as are bytes that are not
 * UTF-8, a byte order mark, and `__proto__`, which not every reader keeps.
 */
export type JsonReading =
  | { kind: 'value'; value: unknown }
  | { kind: 'refused'; reason: 'not_utf8' | 'not_json' | 'duplicate_key' | 'too_deep'; detail: string };

const deepest = 16;
const tokens = /["{}[\]:]/g;

/** Reads `bytes` as one JSON text. The caller bounds their number. */
export function readStrictJson(bytes: Uint8Array): JsonReading {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return refused('not_utf8', 'its bytes are not UTF-8'); // What exactly is wrong with them helps nobody.
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The engine's own words quote the text, a short one whole and raw: a secret file that was named by mistake, or
    // what moves a cursor, from a server that we do not trust.
    return refused('not_json', 'its text is not JSON');
  }
  return findFault(text) ?? { kind: 'value', value };
}

/**
 * Walks over a text that JSON.parse has taken, so its grammar is beyond doubt: only keys and depth are looked at. Texts
 * in it are stepped over by hand: a regular expression over one of several MiB runs out of stack.
 */
function findFault(text: string): JsonReading | null {
  const open: (Set<string> | null)[] = [];
  let last = '""';
  tokens.lastIndex = 0;
  for (let found = tokens.exec(text); found !== null; found = tokens.exec(text)) {
    const [token] = found;
    if (token === '"') {
      tokens.lastIndex = endOfText(text, found.index);
      last = text.slice(found.index, tokens.lastIndex);
    } else if (token === '{' || token === '[') {
      open.push(token === '{' ? new Set() : null);
      if (open.length > deepest) return refused('too_deep', `it is nested deeper than ${deepest} levels`);
    } else if (token === '}' || token === ']') open.pop();
    else {
      const fault = addKey(open.at(-1) ?? null, String(JSON.parse(last)));
      if (fault !== null) return fault;
    }
  }
  return null;
}

/** Just behind the quote that ends the text that begins at `start`: the first one with an even number of backslashes before it. */
function endOfText(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text[end - 1 - backslashes] === '\\') backslashes += 1;
    if (backslashes % 2 === 0) return end + 1;
  }
  return text.length;
}

function addKey(keys: Set<string> | null, key: string): JsonReading | null {
  if (key === '__proto__') return refused('duplicate_key', 'the key "__proto__" is not allowed');
  if (keys?.has(key) === true) return refused('duplicate_key', `the key ${JSON.stringify(key)} stands twice`);
  keys?.add(key);
  return null;
}

function refused(reason: Extract<JsonReading, { kind: 'refused' }>['reason'], detail: string): JsonReading {
  return { kind: 'refused', reason, detail };
}
