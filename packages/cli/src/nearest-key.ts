/** The known word that `word` was probably meant to be, or undefined when none is near. */
export function nearestKey(word: string, known: readonly string[]): string | undefined {
  const bound = Math.max(1, Math.ceil(word.length / 3));
  let best: { key: string; distance: number } | undefined;
  for (const key of known) {
    const distance = key.toLowerCase() === word.toLowerCase() ? 0 : editDistance(word, key);
    if (distance <= bound && (best === undefined || distance < best.distance)) best = { key, distance };
  }
  return best?.key;
}

/** Insertions, deletions, replacements and swaps of neighbours between two words. */
function editDistance(left: string, right: string): number {
  const rows: number[][] = [Array.from({ length: right.length + 1 }, (_, column) => column)];
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= right.length; column += 1) {
      const above = rows[row - 1] ?? [];
      const same = left[row - 1] === right[column - 1] ? 0 : 1;
      let cost = Math.min((above[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1, (above[column - 1] ?? 0) + same);
      const swapped = left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1];
      if (row > 1 && column > 1 && swapped) cost = Math.min(cost, (rows[row - 2]?.[column - 2] ?? 0) + 1);
      current.push(cost);
    }
    rows.push(current);
  }
  return rows[left.length]?.[right.length] ?? Math.max(left.length, right.length);
}
