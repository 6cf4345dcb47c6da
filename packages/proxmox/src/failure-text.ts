/** Texts up to this length are shown whole. */
const longestWhole = 200;

/**
 * What failed, for people. Where an archive cannot be written, vzdump's error is the command line of
 * tar and its compressor, hundreds of characters long, and the cause stands in a line above it: that
 * line is put first, and the command is left out. Shorter texts stay as they are.
 */
export function readableFailure(text: string, complaint: string | null): string {
  const match = /^(.*?)command '.*' failed: (.+)$/s.exec(text);
  if (match === null || text.length <= longestWhole) return text;
  const [, before = '', how = ''] = match;
  return `${before}${complaint === null ? '' : `${complaint}; `}the command that writes the backup failed: ${how}`;
}

/** What a tool complains about in a line of the log, without the line's prefix; null for every other line. */
export function readComplaint(text: string): string | null {
  const match = /^(?:INFO: )?(.*\b(?:errors?|cannot|can't|unable to|no space left|denied|refused|failed)\b.*)$/is.exec(
    text,
  );
  if (match?.[1] === undefined || /^(?:TASK |ERROR: |INFO: (?:Failed at|Backup job finished))/.test(text)) return null;
  return match[1].trim();
}
