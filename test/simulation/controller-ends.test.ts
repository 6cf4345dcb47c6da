import { expect, it } from 'vitest';
import { scenarios } from './controller-scenarios.ts';
import { makeWorld, simulateBackup } from './controller-world.ts';

/*
 * How every scenario of the crash sweep ends where nobody dies, as a text to be read: an app that came back too early, a
 * grade that is too good or too bad, an exit code that says something else is a line that changes.
 */

it('every scenario ends, undisturbed, as it is written down', async () => {
  const told: string[] = [];
  for (const scenario of scenarios) {
    const { end } = await simulateBackup(makeWorld(scenario), null);
    if (end === null) throw new Error(`${scenario.name}: the run did not come to its end`);
    const { outcome, grade, grade_reason: reason } = end.result;
    const graded = grade === null ? '' : `, ${grade}${reason === null ? '' : ` (${reason})`}`;
    const failed = end.failure === null ? '' : `\n  ${end.failure.code}: ${end.failure.message}`;
    told.push(`${scenario.name}\n  ${outcome}${graded}, exit ${end.exit}${failed}`);
  }
  await expect(`${told.join('\n')}\n`).toMatchFileSnapshot('./transcripts/controller-ends.txt');
});
