import { formatElapsed } from '@felhom/cli/quantity.ts';
import { asFailure, Failure } from '@felhom/kernel/failure.ts';
import { readHolders } from '../adapters/lock-holders.ts';
import { type Refusal, readRefusal } from '../adapters/refusal-file.ts';
import { type LoadedConfig, loadConfig, locateConfig } from '../config.ts';
import type { RunRecord } from '../history/history.ts';
import { stackOf } from '../quiesce/marker.ts';
import type { MarkerRead, RunHolder } from '../quiesce/ports.ts';
import { openHistory, openMarkers } from '../wiring.ts';
import { inStack } from './backup-summary.ts';
import type { CommandContext } from './context.ts';

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
  last_run: {
    run_id: string;
    started_at: string;
    outcome: string | null;
    grade: string | null;
    message: string | null;
  } | null;
  last_backup: { run_id: string; started_at: string; grade: string | null; volid: string | null } | null;
  refused: Refusal | null;
  /** Why `--check` is not 0, in words. */
  attention: string[];
  live?: Live;
}

interface Live {
  docker: string;
  agent: string;
  due: boolean | null;
}

/** `status`: reads state only, so that it answers whatever is broken; `--live` asks. */
export async function status(
  context: CommandContext,
  { check, live }: { check: boolean; live: boolean },
): Promise<void> {
  const loaded = await loadConfig(locateConfig(context.flags, context.env));
  const { config, file, exists } = loaded;
  const [marker, holders, runs, refused] = await Promise.all([
    openMarkers(config).read(),
    readHolders(config.run_dir),
    openHistory(config).list(20),
    readRefusal(config.state_dir),
  ]);
  const seen = describe({ loaded, marker, holder: holders[0] ?? null, runs, refused });
  const document: Status = {
    ...seen,
    configured: exists,
    config_file: file,
    ...(live ? { live: await askLive(context, loaded) } : {}),
  };
  context.reporter.result(document, () => statusText(document));
  if (!check) return;
  const owed = document.apps === 'owed' || document.apps === 'unknown';
  if (owed) context.setExit(20);
  else if (document.attention.length > 0) context.setExit(6);
}

interface Seen {
  loaded: LoadedConfig;
  marker: MarkerRead;
  holder: RunHolder | null;
  runs: readonly RunRecord[];
  refused: Refusal | null;
}

function describe({ loaded, marker, holder, runs, refused }: Seen): Status {
  const debts = marker.kind === 'present' ? marker.value.debts : [];
  const last = runs[0] ?? null;
  const good = runs.find(({ result }) => result?.outcome === 'done') ?? null;
  const found: Status = {
    schema: 'felhom.status/1',
    configured: loaded.exists,
    config_file: loaded.file,
    state_dir: loaded.config.state_dir,
    apps: appsWord(marker, holder),
    owed: debts.map((debt) => ({ stack: stackOf(debt), container: debt.name })),
    run:
      holder === null
        ? null
        : { pid: holder.pid, what: holder.what, run_id: holder.runId, deadline_at: isoOrNull(holder.deadlineMs) },
    last_run: last === null ? null : lastRun(last),
    last_backup:
      good?.result == null
        ? null
        : {
            run_id: good.run.runId,
            started_at: good.result.started_at,
            grade: good.result.grade,
            volid: good.result.volid,
          },
    refused,
    attention: [],
  };
  return { ...found, attention: attentionOf(found, marker) };
}

function appsWord(marker: MarkerRead, holder: RunHolder | null): Status['apps'] {
  if (marker.kind === 'absent') return 'fine';
  if (holder !== null) return 'stopped for a run';
  return marker.kind === 'present' ? 'owed' : 'unknown';
}

function lastRun({ run, result }: RunRecord): NonNullable<Status['last_run']> {
  return {
    run_id: run.runId,
    started_at: new Date(run.startedAtMs).toISOString(),
    outcome: result?.outcome ?? null,
    grade: result?.grade ?? null,
    message: result?.error?.message ?? result?.grade_reason ?? null,
  };
}

function attentionOf(status: Status, marker: MarkerRead): string[] {
  const reasons: string[] = [];
  if (status.apps === 'owed')
    reasons.push(
      `apps are owed a start since an interrupted run: ${ownedWords(status)}; type: felhom-controller recover`,
    );
  if (status.apps === 'unknown') {
    const why = marker.kind === 'unreadable' ? `cannot be read (${marker.reason})` : 'was written by a newer version';
    reasons.push(`apps may be down: the marker ${why}; type: felhom-controller recover`);
  }
  if (status.refused !== null)
    reasons.push(`the agent refuses this guest: ${status.refused.message}; ${refusalHint(status.refused)}`);
  if (!status.configured) return reasons;
  const outcome = status.last_run?.outcome;
  if (outcome === 'failed' || outcome === 'aborted' || outcome === 'interrupted')
    reasons.push(`the last run ${outcome}: ${status.last_run?.message ?? 'see backup show'}`);
  else if (outcome === 'done' && status.last_run?.grade === 'crash-consistent')
    reasons.push(`the last backup is only crash-consistent: ${status.last_run.message ?? 'see backup show'}`);
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

function isoOrNull(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}

async function askLive({ env }: CommandContext, { config }: LoadedConfig): Promise<Live> {
  const { openAgent, openEngine } = await import('../wiring.ts');
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
    const failure = error instanceof Failure ? error : asFailure(error);
    return `${failure.code}: ${failure.message}`;
  }
}

function statusText(status: Status): string {
  const row = (label: string, text: string): string => `  ${label.padEnd(19)}${text}`;
  const title = status.configured
    ? `felhom-controller, configured by ${status.config_file}`
    : `felhom-controller is not configured: there is no ${status.config_file}`;
  const apps = {
    fine: 'nothing is owed',
    'stopped for a run': 'stopped for the run below',
    owed: `DOWN since an interrupted run: ${ownedWords(status)}`,
    unknown: 'UNKNOWN: the marker cannot be read',
  };
  const lines = [title, row('apps', apps[status.apps])];
  if (status.run !== null)
    lines.push(
      row(
        'running now',
        `${status.run.what} (pid ${status.run.pid})${status.run.run_id === null ? '' : `, run ${status.run.run_id}`}`,
      ),
    );
  if (status.last_run !== null) {
    const { started_at, outcome, grade } = status.last_run;
    lines.push(row('last run', `${outcome ?? 'not ended'}${grade === null ? '' : `, ${grade}`}, ${ago(started_at)}`));
  }
  if (status.last_backup !== null)
    lines.push(row('last backup', `${ago(status.last_backup.started_at)}, ${status.last_backup.volid ?? 'no volid'}`));
  if (status.configured && status.last_run === null) lines.push(row('last run', 'none yet'));
  if (status.live !== undefined)
    lines.push(
      row('docker', status.live.docker),
      row('agent', status.live.agent),
      row('due', dueWord(status.live.due)),
    );
  for (const reason of status.attention) lines.push(row('ATTENTION', reason));
  if (!status.configured)
    lines.push(
      '  Write a configuration that names the agent of the host; felhom-controller config schema tells every key.',
    );
  return lines.join('\n');
}

function dueWord(due: boolean | null): string {
  return due === null ? 'unknown' : due ? 'yes' : 'no';
}

function ago(at: string): string {
  return `${formatElapsed(Math.max(0, Date.now() - Date.parse(at)))} ago`;
}
