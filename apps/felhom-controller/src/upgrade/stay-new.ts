import { Failure } from '@felhom/kernel/failure.ts';
import { bringUpNew } from './bring-up-new.ts';
import { commit } from './commit.ts';
import type { LadderEnd } from './ladder.ts';
import { leaveToPerson } from './leave-to-person.ts';
import { removeAll } from './remove-all.ts';
import { replaceFiles } from './replace-files.ts';
import { owe, record, type Transaction, tell } from './run.ts';
import { makeStandIns } from './stand-ins.ts';
import type { TakenBack } from './take-back.ts';
import { climbNew, noteRungs } from './verify.ts';

/*
 * There is no way back: a snapshot is damaged, or an image is gone. What is whole is the new version with its own data.
 *
 * Invariants
 * - An app that ran is not left down for a way back that ends nowhere: the new version runs on, or is brought up again.
 * - The old version is never started on data that the new one may have changed.
 * - A person is told by an alert, whatever comes of it, and nothing is tried again by itself.
 */

/** Brings the new version up on its own data and leaves it to a person, or keeps it where it turns out healthy. */
export async function stayNew(transaction: Transaction, why: string, lost: Failure): Promise<TakenBack> {
  const { ports, debt } = transaction;
  transaction.warn(`${debt.stack} cannot be taken back: ${lost.message}. Its new version runs on, with its own data`);
  await makeNewAgain(transaction);
  // Whoever asked for an end has it: what is there is looked at all the same.
  const end = await climbNew({ ...transaction, stop: new AbortController().signal });
  await noteRungs(transaction, end.rungs);
  const states = (await ports.engine.list()).filter(({ project, oneoff }) => project === debt.stack && !oneoff);
  const started = states.filter(({ status }) => status === 'running').map(({ name }) => name);
  const down = debt.up.filter(
    (service) => !states.some((each) => each.service === service && /^(running|restarting|paused)$/.test(each.status)),
  );
  const isDown = end.why !== null && down.length > 0;
  const failure = toldAs(transaction, { why, lost, end, isDown });
  await leaveToPerson(transaction, end, { message: failure.message, hint: failure.hint });
  if (end.why === null) await commit(transaction);
  tell(transaction, 'new version stays');
  const owed = isDown ? down.map((name) => ({ stack: debt.stack, container: name, why: end.why ?? '' })) : [];
  return { outcome: 'kept', started, owed, recovered: end.why === null, rungs: end.rungs, failure };
}

/** Once a rollback has begun some of it may be gone, or held from restarting: then all of it is made anew. */
async function makeNewAgain(transaction: Transaction): Promise<void> {
  const { ports, debt } = transaction;
  const hasBegun = debt.phase === 'rolling_back';
  if (hasBegun) {
    await removeAll(transaction);
    // From here on it may change its data again. Where the debt says so already, a full disk keeps nothing from running.
    if (debt.data_restored || debt.activated_at_ms === null)
      await owe(transaction, { data_restored: false, activated_at_ms: debt.activated_at_ms ?? ports.clock.nowMs() });
    await replaceFiles(transaction, { wanted: debt.new_files, found: debt.old_files, as: [] });
    await makeStandIns(transaction);
  }
  await ports.files.release(debt.reserved);
  await bringUpNew(transaction);
  await owe(transaction, { phase: 'verifying', since_id: null });
  await record(transaction, async (machine) => {
    if ((await machine.read())?.phase === 'staged') await machine.stepFrom('staged', 'activated');
    if ((await machine.read())?.phase === 'activated') await machine.stepFrom('activated', 'verifying');
  });
}

function toldAs(
  { debt: { stack } }: Transaction,
  { why, lost, end, isDown }: { why: string; lost: Failure; end: LadderEnd; isDown: boolean },
): Failure {
  const state =
    end.why === null
      ? 'The new version runs, is healthy by now, and is kept'
      : isDown
        ? `The new version is DOWN: ${end.why}`
        : `The new version runs with its own data, and is NOT healthy: ${end.why}`;
  return new Failure(isDown ? 'apps_down' : 'not_rolled_back', {
    message: `${stack} was to be taken back (${why}) and cannot be: ${lost.message}. ${state}`,
    hint:
      end.why === null
        ? `Nothing has to be done at once. ${lost.hint}`
        : `Look at it: docker compose -p ${stack} logs. Mend it, then: felhom-controller upgrade healthcheck ${stack}; older data: felhom-controller snapshot list ${stack}. ${lost.hint}`,
  });
}
