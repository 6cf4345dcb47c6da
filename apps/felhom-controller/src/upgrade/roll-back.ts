import { Failure } from '@felhom/kernel/failure.ts';
import type { ContainerState } from '../engine/engine.ts';
import type { ProjectFiles, StackEngine } from '../engine/stack-engine.ts';
import type { OldService } from './debt.ts';
import { climb, type LadderEnd } from './ladder.ts';
import { owe, record, type Transaction, tell } from './run.ts';
import type { TakenBack } from './take-back.ts';
import { foldersOf } from './verify.ts';

/*
 * Invariants
 * - Nothing of the new version exists while data is swapped, so nothing can write to it, and nothing finds it empty.
 * - The data is back before anything of the old version is made: no container ever initialises a fresh one.
 * - Images are taken by id: a name may have moved, or be gone.
 * - The debt goes last: after the alert, and after the target was remembered as bad.
 */

/** Makes the old version again: images by id, files, data. Can be called again after a crash at any step. */
export async function rollBack(transaction: Transaction, why: string): Promise<TakenBack> {
  if (transaction.debt.phase !== 'rolling_back') await owe(transaction, { phase: 'rolling_back', reason: why });
  tell(transaction, 'rolling back');
  const { ports, debt, settings, lock } = transaction;
  await removeAll(transaction);
  await ports.files.release(debt.reserved);
  if (debt.snapshot_id !== null) {
    await ports.data.restore(debt.stack, debt.snapshot_id, { inheritFds: lock.inheritFds });
    tell(transaction, 'data restored');
  }
  await putFilesBack(transaction);
  const project = await pinImages(transaction);
  const services = debt.old.filter(({ ran }) => ran).map(({ name }) => name);
  const { trouble } = await ports.engine.composeUp(project, services, {
    boundMs: settings.bounds.upMs,
    inheritFds: lock.inheritFds,
  });
  if (trouble !== null) transaction.warn(`docker compose was not content with the old version: ${trouble}`);
  return await conclude(transaction, debt.reason ?? why);
}

/** Everything of the project, gracefully: what it writes outside of its own data is not rolled back. */
async function removeAll({ ports: { engine }, debt, settings: { quiesce } }: Transaction): Promise<void> {
  const own = (await engine.list()).filter(({ project }) => project === debt.stack);
  await Promise.all(
    own.map(async ({ id, stopTimeoutSeconds }) => {
      const graceMs = Math.max(0, stopTimeoutSeconds ?? 10) * 1_000;
      await engine.setRestartPolicy(id, { name: 'no', retries: 0 });
      await engine.stop(id, { boundMs: graceMs + quiesce.stopMarginMs });
    }),
  );
  for (const { id } of own) await engine.remove(id, { boundMs: quiesce.startMs });
  const left = (await engine.list()).filter(({ project }) => project === debt.stack);
  if (left.length === 0) return;
  throw new Failure('apps_down', {
    message: `${left.map(({ name }) => name).join(', ')} cannot be removed, and the old version of ${debt.stack} is DOWN until they are`,
    hint: `Look at: docker rm --force ${left[0]?.name ?? ''}; recovery is tried again every minute, or now: felhom-controller recover`,
  });
}

/** The files from which the old version was made, where the upgrade found others. What a person changed since is left. */
async function putFilesBack({ ports, debt, warn }: Transaction): Promise<void> {
  const now = await ports.files.keep(debt.old_files.map(({ path }) => path));
  for (const file of debt.old_files) {
    const present = now.find(({ path }) => path === file.path);
    const found = debt.new_files.find(({ path }) => path === file.path);
    if (present?.base64 === file.base64) continue;
    if (present !== undefined && present.base64 !== found?.base64) {
      warn(`${file.path} was changed while the upgrade ran: it is left as it is, and differs from what runs now`);
      continue;
    }
    await ports.files.putBack(file);
  }
}

/**
 * Where a name no longer leads to the image that ran, a file of ours goes on top that names it by id (`image: sha256:…`
 * works in Compose); a name that is gone is given back. So do volumes that only the old containers knew.
 */
async function pinImages({ ports: { engine, memory }, debt, warn }: Transaction): Promise<ProjectFiles> {
  const config = await engine.composeConfig(debt.files);
  const pinned: OldService[] = [];
  for (const old of debt.old.filter(({ ran }) => ran)) {
    if ((await engine.image(old.image_id)) === null) {
      throw new Failure('apps_down', {
        message: `the image of ${debt.stack}/${old.name} that ran before (${old.image_ref}, ${old.image_id.slice(0, 19)}) is gone: the old version is DOWN`,
        hint: `Fetch or load it (docker pull ${old.image_ref}), then: felhom-controller recover`,
      });
    }
    const named = config.services.find(({ name }) => name === old.name)?.image ?? null;
    if (old.anonymous.length > 0 || !(await leadsTo(engine, named, old))) pinned.push(old);
  }
  if (pinned.length === 0) return debt.files;
  warn(
    `names have moved: ${pinned.map(({ name }) => name).join(', ')} of ${debt.stack} stay pinned to the image that ran before`,
  );
  const path = await memory.writePins(debt.stack, JSON.stringify(pinsOf(pinned), null, 2));
  return { ...debt.files, composeFiles: [...debt.files.composeFiles, path] };
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
  const volumes = pinned.flatMap(({ anonymous }) => anonymous.map(({ volume }) => volume));
  return {
    services: Object.fromEntries(
      pinned.map(({ name, image_id, anonymous }) => [
        name,
        {
          image: image_id,
          ...(anonymous.length === 0
            ? {}
            : { volumes: anonymous.map(({ volume, target }) => ({ type: 'volume', source: keyOf(volume), target })) }),
        },
      ]),
    ),
    ...(volumes.length === 0
      ? {}
      : { volumes: Object.fromEntries(volumes.map((name) => [keyOf(name), { external: true, name }])) }),
  };
}

function keyOf(volume: string): string {
  return `felhom_${volume.slice(0, 12)}`;
}

/** Seen to run, and verified as strictly as an upgrade. Only then nothing is owed any more. */
async function conclude(transaction: Transaction, why: string): Promise<TakenBack> {
  const { ports, debt } = transaction;
  const end = await climbOld(transaction);
  const containers = (await ports.engine.list()).filter(({ project, oneoff }) => project === debt.stack && !oneoff);
  const down = debt.old.filter(({ name, ran }) => ran && !runs(name, containers));
  const started = containers.filter(({ status }) => status === 'running').map(({ name }) => name);
  if (down.length > 0) {
    const owed = down.map(({ name }) => ({ stack: debt.stack, container: name, why: end.why ?? 'it does not run' }));
    return { outcome: 'owed', started, owed, recovered: false, rungs: end.rungs };
  }
  await tellPeople(transaction, why, end);
  await record(transaction, async (machine) => {
    const now = await machine.read();
    if (now === null) return;
    const change = { lastError: why, data: { ...now.data, rungs: end.rungs, waits_for_person: false } };
    if (now.phase === 'staged') await machine.stepFrom('staged', 'activated');
    if (now.phase === 'staged' || now.phase === 'activated' || now.phase === 'verifying')
      await machine.step('rolled_back', change);
  });
  await ports.debts.erase();
  tell(transaction, 'rolled back');
  return { outcome: 'rolled_back', started, owed: [], recovered: end.why === null, rungs: end.rungs };
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
