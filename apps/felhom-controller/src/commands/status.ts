import { asFailure } from '@felhom/kernel/failure.ts';
import type { Refusal } from '../adapters/refusal-file.ts';
import type { Marker } from '../quiesce/marker.ts';
import type { MarkerRead, RunHolder } from '../quiesce/ports.ts';
import { type Places, quickPlaces } from '../state/places.ts';
import { namesIn, textOf } from '../state/quick-files.ts';
import { glanceAtRuns, type RunGlance } from '../state/run-glance.ts';
import {
  type AlertGlance,
  glanceAtAlerts,
  glanceAtOtherDebts,
  glanceAtSnapshots,
  glanceAtUpgrades,
  type OtherDebtGlance,
  type SnapshotGlance,
  type UpgradeGlance,
} from '../state/stack-glance.ts';
import type { CommandContext } from './context.ts';
import { inStack } from './names.ts';
import { statusText } from './status-text.ts';

/** What lies on disk about this guest; `live` is what docker and the agent say when they are asked. */
export interface Status {
  schema: 'felhom.status/1';
  configured: boolean;
  config_file: string;
  state_dir: string;
  /** `owed`: an interrupted run left containers down. `unknown`: the marker cannot be read. */
  apps: 'fine' | 'stopped for a run' | 'owed' | 'unknown';
  owed: { stack: string; container: string }[];
  run: { pid: number; what: string; run_id: string | null; deadline_at: string | null } | null;
  last_run: RunGlance | null;
  last_backup: RunGlance | null;
  refused: Refusal | null;
  upgrades: UpgradeGlance[];
  /** Those that nobody has acknowledged. */
  alerts: AlertGlance[];
  /** What else an interrupted command owes: a stack between two versions, or with half exchanged data. */
  unfinished: OtherDebtGlance[];
  /** Why `--check` is not 0, in words. */
  attention: string[];
  live?: Live;
}

export interface Live {
  docker: string;
  agent: string;
  due: boolean | null;
}

/**
 * `status`: reads state only, so that it answers whatever is broken; `live` asks. What reads markers, locks
 * and refusals is loaded where there is one: most of the time there is nothing, and the answer is quick.
 */
export async function status(
  context: CommandContext,
  { check, live, textfile }: { check: boolean; live: boolean; textfile: string | null },
): Promise<void> {
  const places = quickPlaces(context.flags, context.env) ?? (await placesByYaml(context));
  const seen = await look(places);
  const problem = check && places.configured ? await configurationProblem(context) : null;
  const attention = problem === null ? seen.attention : [...seen.attention, problem];
  const answers = live ? { live: await askLive(context) } : {};
  const document: Status = { ...seen, attention, ...answers };
  if (textfile !== null) await writeMetrics(context, textfile, document);
  context.reporter.result(document, () => statusText(document));
  if (!check) return;
  const owed = document.apps === 'owed' || document.apps === 'unknown';
  if (owed) context.setExit(20);
  else if (document.attention.length > 0) context.setExit(6);
}

async function placesByYaml({ flags, env }: CommandContext): Promise<Places> {
  const { loadConfig, locateConfig } = await import('../config.ts');
  const { config, file, exists } = await loadConfig(locateConfig(flags, env));
  return { configFile: file, configured: exists, stateDir: config.state_dir, runDir: config.run_dir };
}

/** What `config check` would say, in one line; null when nothing is wrong. */
async function configurationProblem({ flags, env }: CommandContext): Promise<string | null> {
  const { loadConfig, locateConfig } = await import('../config.ts');
  try {
    await loadConfig(locateConfig(flags, env));
    return null;
  } catch (error) {
    return `the configuration is broken: ${asFailure(error).message.replaceAll('\n', '; ')}; type: felhom-controller config check`;
  }
}

async function look(places: Places): Promise<Status> {
  const { stateDir, runDir, configFile, configured } = places;
  const [marker, holder, refused] = [await readMarker(stateDir), await readHolder(runDir), await readRefused(stateDir)];
  const runs = glanceAtRuns(stateDir, 20);
  const unfinished = glanceAtOtherDebts(stateDir);
  const found: Status = {
    schema: 'felhom.status/1',
    configured,
    config_file: configFile,
    state_dir: stateDir,
    apps: appsWord(marker, unfinished, holder),
    owed: marker.kind === 'present' ? owedBy(marker.value) : [],
    run: holder === null ? null : describeHolder(holder),
    last_run: runs[0] ?? null,
    last_backup: runs.find(({ outcome }) => outcome === 'done') ?? null,
    refused,
    upgrades: glanceAtUpgrades(stateDir),
    alerts: glanceAtAlerts(stateDir),
    unfinished,
    attention: [],
  };
  return { ...found, attention: attentionOf(found, marker) };
}

/** Containers that are owed a start, and services that are owed the command after it: an app in its maintenance mode is down too. */
function owedBy({ debts, after_start: commands }: Marker): Status['owed'] {
  return [
    ...debts.map((debt) => ({ stack: debt.project ?? debt.name, container: debt.name })),
    ...commands.map(({ stack, service }) => ({ stack, container: service })),
  ];
}

async function readMarker(stateDir: string): Promise<MarkerRead> {
  if (namesIn(`${stateDir}/debts`).length === 0) return { kind: 'absent' };
  const { openMarkers } = await import('../wiring.ts');
  return await openMarkers({ state_dir: stateDir }).read();
}

async function readHolder(runDir: string): Promise<RunHolder | null> {
  // A lock that is free has an empty file.
  if (namesIn(runDir).every((name) => !/^engine-.*\.lock$/.test(name) || !textOf(`${runDir}/${name}`))) return null;
  const { readHolders } = await import('../adapters/lock-holders.ts');
  return (await readHolders(runDir))[0] ?? null;
}

async function readRefused(stateDir: string): Promise<Refusal | null> {
  if (!namesIn(`${stateDir}/identity`).includes('refused.json')) return null;
  const { readRefusal } = await import('../adapters/refusal-file.ts');
  return await readRefusal(stateDir);
}

function describeHolder({ pid, what, runId, deadlineMs }: RunHolder): NonNullable<Status['run']> {
  return { pid, what, run_id: runId, deadline_at: deadlineMs === null ? null : new Date(deadlineMs).toISOString() };
}

function appsWord(
  marker: MarkerRead,
  unfinished: readonly OtherDebtGlance[],
  holder: RunHolder | null,
): Status['apps'] {
  if (marker.kind === 'absent' && unfinished.length === 0) return 'fine';
  if (holder !== null) return 'stopped for a run';
  if (marker.kind === 'absent') return 'owed';
  return marker.kind === 'present' ? 'owed' : 'unknown';
}

function attentionOf(seen: Status, marker: MarkerRead): string[] {
  const reasons: string[] = [];
  for (const { kind, stack, phase } of seen.unfinished)
    if (seen.run === null)
      reasons.push(
        `${kind === 'upgrade' ? 'an upgrade' : 'a restore'} of ${stack} was cut off${phase === null ? '' : ` (${phase})`}; type: felhom-controller recover`,
      );
  for (const { message, id } of seen.alerts)
    reasons.push(`${message}; once you know: felhom-controller alert ack ${id}`);
  for (const { stack, waits_for_person: waits } of seen.upgrades)
    if (waits)
      reasons.push(
        `the new version of ${stack} is not healthy and waits for you: felhom-controller upgrade status ${stack}`,
      );
  if (seen.apps === 'owed' && seen.owed.length > 0)
    reasons.push(
      `apps are owed a start since an interrupted run: ${ownedWords(seen)}; type: felhom-controller recover`,
    );
  if (seen.apps === 'unknown') {
    const why = marker.kind === 'unreadable' ? `cannot be read (${marker.reason})` : 'was written by a newer version';
    reasons.push(`apps may be down: the marker ${why}; type: felhom-controller recover`);
  }
  if (seen.refused !== null)
    reasons.push(`the agent refuses this guest: ${seen.refused.message}; ${refusalHint(seen.refused)}`);
  // A refusal says why the last run failed as well.
  if (!seen.configured || seen.refused !== null) return reasons;
  const outcome = seen.last_run?.outcome;
  if (outcome === 'failed' || outcome === 'aborted' || outcome === 'interrupted')
    reasons.push(`the last run ${outcome}: ${seen.last_run?.message ?? 'see backup show'}`);
  else if (outcome === 'done' && seen.last_run?.grade === 'crash-consistent')
    reasons.push(`the last backup is only crash-consistent: ${seen.last_run.message ?? 'see backup show'}`);
  return reasons;
}

function refusalHint({ reason, hint }: Refusal): string {
  const copy = reason === 'restored_copy' || reason === 'identity_conflict';
  return copy && !hint.includes('guest adopt')
    ? `${hint} If this is the guest itself, on the host: felhom-agent guest adopt VMID`
    : hint;
}

function ownedWords({ owed }: Status): string {
  return owed.map(({ stack, container }) => inStack(stack, container)).join(', ');
}

async function askLive({ flags, env }: CommandContext): Promise<Live> {
  const [{ openAgent, openEngine }, { loadExistingConfig, locateConfig }] = await Promise.all([
    import('../wiring.ts'),
    import('../config.ts'),
  ]);
  const docker = await answerOf(async () => {
    const engine = await openEngine(env);
    try {
      return `answers, version ${(await engine.identity()).version}`;
    } finally {
      await engine.close();
    }
  });
  let due: boolean | null = null;
  const agent = await answerOf(async () => {
    const { config } = await loadExistingConfig(locateConfig(flags, env));
    const api = await openAgent(config, () => {});
    try {
      const answer = await api.due();
      due = answer.due;
      return `answers: guest ${answer.guest.vmid} ${answer.guest.name} on ${answer.guest.node}`;
    } finally {
      await api.close();
    }
  });
  return { docker, agent, due };
}

async function answerOf(ask: () => Promise<string>): Promise<string> {
  try {
    return await ask();
  } catch (error) {
    const failure = asFailure(error);
    return `${failure.code}: ${failure.message}`;
  }
}

/** Snapshots may lie elsewhere than the rest of the state: only the configuration knows. */
async function writeMetrics({ flags, env }: CommandContext, path: string, seen: Status): Promise<void> {
  const [{ loadConfig, locateConfig, snapshotFolder }, { writeTextfile }, { resolve }] = await Promise.all([
    import('../config.ts'),
    import('./status-metrics.ts'),
    import('node:path'),
  ]);
  const { config } = await loadConfig(locateConfig(flags, env));
  const snapshots: SnapshotGlance[] = glanceAtSnapshots(snapshotFolder(config));
  await writeTextfile(resolve(path), seen, snapshots, Date.now());
}
