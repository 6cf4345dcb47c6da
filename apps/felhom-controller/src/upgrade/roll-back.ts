import { asFailure, type Failure } from '@felhom/kernel/failure.ts';
import type { ContainerState } from '../engine/engine.ts';
import type { ProjectFiles, StackEngine } from '../engine/stack-engine.ts';
import { beginBack } from './begin-back.ts';
import type { OldService } from './debt.ts';
import { foreignContainers } from './foreign.ts';
import { keepSince } from './keep-since.ts';
import { climb, type LadderEnd } from './ladder.ts';
import type { VerifiedData } from './ports.ts';
import { removeAll } from './remove-all.ts';
import { replaceFiles } from './replace-files.ts';
import { letGo, owe, record, type Transaction, tell } from './run.ts';
import { makeStandIns } from './stand-ins.ts';
import { stayNew } from './stay-new.ts';
import type { TakenBack } from './take-back.ts';
import { foldersOf } from './verify.ts';
import { findWayBack, isForLater, type WayBack } from './way-back.ts';

/*
 * Invariants
 * - Nothing of the new version exists while data is swapped, so nothing can write to it, and nothing finds it empty.
 * - The data is back before anything of the old version is made: no container ever initialises a fresh one. Once it is
 *   back it is not put back again: what the old version has written since is its own.
 * - Nothing is removed before the way back was found whole. Where it turns out not to be after all, the new version stays.
 * - Data that has lived on becomes a snapshot of its own before it is replaced.
 * - Images are taken by id: a name may have moved, or be gone.
 * - The debt goes last: after the alert, and after the target was remembered as bad.
 */

/**
 * Makes the old version again: images by id, files, data. Can be called again after a crash at any step. Where there is no
 * way back the new version stays.
 */
export async function rollBack(transaction: Transaction, why: string, found?: WayBack): Promise<TakenBack> {
  await forgetWhatIsNotSoAnyMore(transaction);
  if (transaction.debt.old_made) return await bringUpOld(transaction, why);
  const wayBack = found ?? (await findWayBack(transaction));
  if (wayBack.kind === 'lost') return await stayNew(transaction, why, wayBack.failure);
  if (transaction.debt.phase !== 'rolling_back') await beginBack(transaction, why);
  tell(transaction, 'rolling back');
  const { ports, debt } = transaction;
  const unkept = await keepSince(transaction);
  if (unkept !== null) return await stayNew(transaction, why, unkept);
  await removeAll(transaction);
  await ports.files.release(debt.reserved);
  if (wayBack.data !== null) {
    const lost = await restoreData(transaction, wayBack.data);
    if (lost !== null) return await stayNew(transaction, why, lost);
  }
  await replaceFiles(transaction, { wanted: debt.old_files, found: debt.new_files, as: debt.old });
  await makeStandIns(transaction);
  return await bringUpOld(transaction, why);
}

/**
 * A container of another image is there, though nothing of the new version was ever started, or the data was put back since:
 * a person has started one, and it may have migrated the data. Said durably, before what shows it is removed.
 */
async function forgetWhatIsNotSoAnyMore(transaction: Transaction): Promise<void> {
  const { ports, debt } = transaction;
  if (debt.activated_at_ms !== null && !debt.data_restored && !debt.old_made) return;
  if ((await foreignContainers(ports, debt)).length === 0) return;
  const activatedAtMs = debt.activated_at_ms ?? ports.clock.nowMs();
  await owe(transaction, { data_restored: false, old_made: false, activated_at_ms: activatedAtMs, since_id: null });
}

/** Nothing of the new version is left, and the data is back. What runs already goes on. */
async function bringUpOld(transaction: Transaction, why: string): Promise<TakenBack> {
  const { ports, debt, settings, lock } = transaction;
  const project = await pinImages(transaction);
  const services = debt.old.filter(({ ran }) => ran).map(({ name }) => name);
  const { trouble } = await ports.engine.composeUp(project, services, {
    boundMs: settings.bounds.upMs,
    inheritFds: lock.inheritFds,
  });
  if (trouble !== null) transaction.warn(`docker compose was not content with the old version: ${trouble}`);
  if (!debt.old_made) await makeWhatWasOff(transaction, project);
  return await conclude(transaction, debt.reason ?? why);
}

/** Null: the data is as it was before, and a second try will not touch it. Otherwise it is still the new version's. */
async function restoreData(transaction: Transaction, data: VerifiedData): Promise<Failure | null> {
  try {
    await data.restore({ inheritFds: transaction.lock.inheritFds });
  } catch (error) {
    const failure = asFailure(error);
    if (isForLater(failure)) throw failure;
    return failure;
  }
  await owe(transaction, { data_restored: true });
  tell(transaction, 'data restored');
  return null;
}

/**
 * Where a name no longer leads to the image that ran, a file of ours goes on top that names it by id (`image: sha256:…`
 * works in Compose); a name that is gone is given back.
 */
async function pinImages({ ports: { engine, memory }, debt, warn }: Transaction): Promise<ProjectFiles> {
  const config = await engine.composeConfig(debt.files);
  const pinned: OldService[] = [];
  for (const old of debt.old) {
    if (!old.ran && (await engine.image(old.image_id)) === null) continue; // What was off needs none to run.
    const named = config.services.find(({ name }) => name === old.name)?.image ?? null;
    if (!(await leadsTo(engine, named, old))) pinned.push(old);
  }
  if (pinned.length === 0) return debt.files;
  warn(
    `names have moved: ${pinned.map(({ name }) => name).join(', ')} of ${debt.stack} stay pinned to the image that ran before`,
  );
  const path = await memory.writePins(debt.stack, JSON.stringify(pinsOf(pinned), null, 2));
  return { ...debt.files, composeFiles: [...debt.files.composeFiles, path] };
}

/** It was there and did not run: so it is again. That it cannot be made keeps nothing of what ran from running. */
async function makeWhatWasOff({ ports, debt, settings, lock, warn }: Transaction, files: ProjectFiles): Promise<void> {
  for (const { name } of debt.old.filter(({ ran }) => !ran)) {
    try {
      await ports.engine.recreate(
        { ...files, service: name },
        { which: 'all', boundMs: settings.quiesce.startMs, inheritFds: lock.inheritFds },
      );
    } catch (error) {
      const failure = asFailure(error);
      if (isForLater(failure)) throw failure;
      warn(`${debt.stack}/${name} was off, and could not be made again: ${failure.message}`);
    }
  }
}

async function leadsTo(engine: StackEngine, named: string | null, old: OldService): Promise<boolean> {
  if (named === null) return false;
  const found = await engine.image(named);
  if (found !== null) return found.id === old.image_id;
  if (named !== old.image_ref || /@?sha256:/.test(named)) return false;
  await engine.tag(old.image_id, named);
  return true;
}

/** A Compose file: what goes on top of the old one. JSON is YAML. */
function pinsOf(pinned: readonly OldService[]): unknown {
  return { services: Object.fromEntries(pinned.map(({ name, image_id }) => [name, { image: image_id }])) };
}

/** Seen to run, and verified as strictly as an upgrade. Only then nothing is owed any more. */
async function conclude(transaction: Transaction, why: string): Promise<TakenBack> {
  const { ports, debt } = transaction;
  const end = await climbOld(transaction);
  const containers = (await ports.engine.list()).filter(({ project, oneoff }) => project === debt.stack && !oneoff);
  const down = debt.old.filter(({ name, ran }) => ran && !runs(name, containers));
  const started = containers.filter(({ status }) => status === 'running').map(({ name }) => name);
  if (down.length > 0) {
    const failure = null;
    await owe(transaction, { old_made: true });
    const owed = down.map(({ name }) => ({ stack: debt.stack, container: name, why: end.why ?? 'it does not run' }));
    return { outcome: 'owed', started, owed, recovered: false, rungs: end.rungs, failure };
  }
  if (debt.asked === 'back') await forgetPrevious(transaction);
  await tellPeople(transaction, why, end);
  await record(transaction, async (machine) => {
    const now = await machine.read();
    if (now === null) return;
    const change = { lastError: why, data: { ...now.data, rungs: end.rungs, waits_for_person: false } };
    if (now.phase === 'staged') await machine.stepFrom('staged', 'activated');
    if (now.phase === 'staged' || now.phase === 'activated' || now.phase === 'verifying')
      await machine.step('rolled_back', change);
  });
  await letGo(transaction);
  tell(transaction, 'rolled back');
  return { outcome: 'rolled_back', started, owed: [], recovered: end.why === null, rungs: end.rungs, failure: null };
}

function runs(service: string, containers: readonly ContainerState[]): boolean {
  const own = containers.filter((each) => each.service === service);
  return (
    own.length > 0 &&
    own.every((state) => state.status === 'running' || state.status === 'restarting' || hasEnded(state))
  );
}

/** As in every resume: ran again, and is over by its own nature. */
function hasEnded({ status, exitCode, restartPolicy }: ContainerState): boolean {
  return status === 'exited' && exitCode === 0 && (restartPolicy === 'no' || restartPolicy === 'on-failure');
}

async function climbOld({ ports, debt, settings }: Transaction): Promise<LadderEnd> {
  return await climb(ports, {
    stack: debt.stack,
    expected: debt.old
      .filter(({ ran }) => ran)
      .map(({ name, image_id, was_healthy, task }) => ({
        service: name,
        imageId: image_id,
        healthy: was_healthy,
        task,
      })),
    probe: settings.policyOf(debt.stack).probe,
    bounds: settings.bounds,
    folders: await foldersOf(ports, debt.stack),
    stop: new AbortController().signal,
  });
}

/** It has been taken back: a second time would put the same data over what the old version writes from now on. */
async function forgetPrevious({ ports: { memory }, debt }: Transaction): Promise<void> {
  const good = await memory.lastGood(debt.stack);
  if (good !== null) await memory.saveLastGood({ ...good, previous: null });
}

async function tellPeople({ ports, debt }: Transaction, why: string, end: LadderEnd): Promise<void> {
  if (debt.asked === 'ended') return;
  const at = new Date(ports.clock.nowMs()).toISOString();
  const attempted = debt.target.images.map(({ service, ref }) => `${service}=${ref}`).join(' ');
  const before = new Set(debt.old.map(({ image_id }) => image_id));
  const newIds = debt.target.images.filter(({ id }) => !before.has(id)).map(({ id }) => id);
  await ports.memory.addKnownBad(debt.stack, { key: debt.target.key, image_ids: newIds, at, why });
  if (debt.asked === 'back') return;
  await ports.alerts.raise({
    id: debt.run_id,
    stack: debt.stack,
    attempted,
    last_good: debt.old.map(({ name, image_ref }) => `${name}=${image_ref}`).join(' '),
    recovered: end.why === null,
    at,
    message: `${debt.stack} was rolled back: ${why}${end.why === null ? '' : `; the old version runs, but is not healthy: ${end.why}`}`,
    hint: `This target is not tried again until: felhom-controller upgrade allow ${debt.stack}`,
  });
}
