import type { CommandResult } from '@felhom/kernel/command.ts';

/** What a program said last, or why it said nothing. Compose quotes values of env files, which may be secrets: not those. */
export function composeWords(result: CommandResult): string {
  if (result.timedOut) return 'it took too long';
  if (result.spawnError !== undefined) return result.spawnError.message;
  const lines = withoutValues(result.stderr).trim().split('\n');
  return (lines.findLast((line) => /error|fail|invalid|unhealthy|denied/i.test(line)) ?? lines.at(-1) ?? '')
    .trim()
    .slice(0, 500);
}

/** Behind each of these words comes text of a file, of one line or all that is left of it (compose-go's dotenv and template). */
const quoting = [/unterminated quoted value/, /in variable name/, /invalid interpolation format for [^\s:]+/];

function withoutValues(text: string): string {
  const ends = quoting.flatMap((words) => {
    const found = words.exec(text);
    return found === null ? [] : [found.index + found[0].length];
  });
  return ends.length === 0 ? text : `${text.slice(0, Math.min(...ends))} (not shown: it may be a secret)`;
}
