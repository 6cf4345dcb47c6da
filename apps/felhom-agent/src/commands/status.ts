import { readJournal } from '@felhom/durable/journal.ts';
import { failures } from '@felhom/kernel/failure.ts';
import { z } from 'zod';
import { isOpen, type Job, jobRecord, replay } from '../backup/job.ts';
import { gradeOf } from '../backup/notes.ts';
import { configFile, type Loaded, loadConfigIfAny } from '../load-config.ts';
import { readFingerprint } from '../serve/tls.ts';
import { alertsFile, guestsFile, journalPath, servingFile } from '../state-files.ts';
import type { CommandContext } from './context.ts';

interface Attention {
  message: string;
  hint: string;
}

/** `status`: what lies in the state folder. Asks nobody, unless `--live`. */
export async function status(
  context: CommandContext,
  { check, live }: { check: boolean; live: boolean },
): Promise<void> {
  const loaded = await loadConfigIfAny(context.flags.config);
  if (loaded === null) return notConfigured(context, check);
  const state = await readState(loaded);
  const asked = live ? await askLive(loaded) : null;
  const attention = [...state.attention, ...(asked?.attention ?? [])];
  const { config } = loaded;
  const document = {
    schema: 'felhom.status/1',
    configured: true,
    config: loaded.file,
    url: state.url,
    listen: config.listen,
    fingerprint: state.fingerprint,
    socket: config.socket,
    guests: state.guests,
    jobs: state.open.map(jobRow),
    last: state.last.map(jobRow),
    attention,
    live: asked?.answer ?? null,
  } as const;
  context.reporter.result(document, () => text(document, asked?.lines ?? []));
  if (check && attention.length > 0) context.setExit(failures.attention.exit);
}

function notConfigured(context: CommandContext, check: boolean): void {
  const file = configFile(context.flags.config);
  const hint = 'felhom-agent config schema shows every key.';
  const document = {
    schema: 'felhom.status/1',
    configured: false,
    config: file,
    attention: [{ message: 'not configured', hint }],
  } as const;
  context.reporter.result(document, () => `felhom-agent is not configured: there is no ${file}\n  ${hint}`);
  if (check) context.setExit(failures.attention.exit);
}

interface State {
  url: string | null;
  fingerprint: string | null;
  guests: { vmid: number; has_token: boolean; generation: number; refused: string | null }[];
  open: Job[];
  last: Job[];
  attention: Attention[];
}

async function readState({ config, guests: files }: Loaded): Promise<State> {
  const [serving, fingerprint, read, alerts, journal] = await Promise.all([
    servingFile(config.state).read(),
    readFingerprint(config.state),
    guestsFile(config.state).read(),
    alertsFile(config.state).read(),
    readJournal({ path: journalPath(config.state), schema: jobRecord }),
  ]);
  const attention: Attention[] =
    alerts.kind === 'present' ? alerts.value.alerts.map(({ message, hint }) => ({ message, hint })) : [];
  const stored = read.kind === 'present' ? read.value.guests : [];
  if (read.kind === 'unreadable' || read.kind === 'newer') {
    attention.push({
      message: `the list of guests cannot be read (${read.kind})`,
      hint: `Look at ${config.state}/guests.json`,
    });
  }
  for (const { vmid, identity } of stored) {
    if (identity.refused === null || attention.some((each) => each.hint.endsWith(`guest adopt ${vmid}`))) continue;
    attention.push({
      message: `guest ${vmid} is refused (${identity.refused.reason})`,
      hint: `felhom-agent guest adopt ${vmid}`,
    });
  }
  for (const problem of journal.problems)
    attention.push({ message: problem, hint: 'Look at the disk of the host: dmesg' });
  const jobs = [...replay(journal.records).values()];
  const vmids = new Set([...files.keys(), ...stored.map((guest) => guest.vmid)]);
  return {
    url: serving.kind === 'present' ? serving.value.url : null,
    fingerprint,
    guests: [...vmids]
      .toSorted((left, right) => left - right)
      .map((vmid) => {
        const entry = stored.find((guest) => guest.vmid === vmid);
        const hasToken = (entry?.token_sha256 ?? files.get(vmid)?.token_sha256 ?? null) !== null;
        return {
          vmid,
          has_token: hasToken,
          generation: entry?.identity.generation ?? 0,
          refused: entry?.identity.refused?.reason ?? null,
        };
      }),
    open: jobs.filter(isOpen),
    last: [...vmids].flatMap((vmid) => jobs.findLast((job) => job.vmid === vmid && !isOpen(job)) ?? []),
    attention: [...attention, ...failedLast(jobs, vmids)],
  };
}

function failedLast(jobs: readonly Job[], vmids: ReadonlySet<number>): Attention[] {
  return [...vmids].flatMap((vmid) => {
    const last = jobs.findLast((job) => job.vmid === vmid && !isOpen(job));
    return last?.phase === 'failed'
      ? [
          {
            message: `the newest backup of guest ${vmid} failed: ${last.error?.message ?? ''}`,
            hint: last.error?.hint ?? `felhom-agent backup now ${vmid}`,
          },
        ]
      : [];
  });
}

function jobRow(job: Job) {
  return {
    vmid: job.vmid,
    job_id: job.job_id,
    phase: job.phase,
    origin: job.origin,
    opened_at: job.opened_at,
    ended_at: job.ended_at,
    volid: job.volid,
    grade: job.phase === 'done' ? gradeOf(job).grade : null,
    grade_reason: job.phase === 'done' ? gradeOf(job).reason : null,
  };
}

interface Live {
  answer: Record<string, unknown>;
  lines: string[];
  attention: Attention[];
}

/** serve over its socket, and PVE by its cheapest call. */
async function askLive({ config }: Loaded): Promise<Live> {
  const { askServe } = await import('./host-client.ts');
  const { openClient } = await import('../wiring.ts');
  const serve = await askServe(config.socket, {
    method: 'GET',
    path: '/host/status',
    answer: z.looseObject({ node: z.string() }),
    timeoutMs: 10_000,
  }).then(
    () => null,
    (error: unknown) => ({
      message: error instanceof Error ? error.message : String(error),
      hint: 'systemctl status felhom-agent',
    }),
  );
  const pve = await version(openClient, config);
  const attention = [...(serve === null ? [] : [serve]), ...(typeof pve === 'string' ? [] : [pve])];
  const version_ = typeof pve === 'string' ? pve : null;
  return {
    answer: { serving: serve === null, pve_version: version_ },
    lines: [`serve ${serve === null ? 'answers' : 'does not answer'}, Proxmox VE ${version_ ?? 'does not answer'}`],
    attention,
  };
}

async function version(
  openClient: typeof import('../wiring.ts').openClient,
  config: Loaded['config'],
): Promise<string | Attention> {
  try {
    const client = await openClient(config);
    try {
      return (await client.nodes.version()).version;
    } finally {
      await client.close();
    }
  } catch (error) {
    return {
      message: error instanceof Error ? error.message : String(error),
      hint: 'Check pve in agent.yaml: url, token_file, fingerprint.',
    };
  }
}

interface Shown {
  url: string | null;
  listen: string;
  fingerprint: string | null;
  guests: State['guests'];
  jobs: ReturnType<typeof jobRow>[];
  last: ReturnType<typeof jobRow>[];
  attention: readonly Attention[];
}

function text(shown: Shown, live: readonly string[]): string {
  const lines = [
    `address      ${shown.url ?? `https://${shown.listen}`}`,
    `fingerprint  ${shown.fingerprint ?? 'none yet: the first felhom-agent serve makes the certificate'}`,
    ...live,
  ];
  for (const { vmid, has_token: token, refused } of shown.guests) {
    const last = shown.last.find((job) => job.vmid === vmid);
    const under = shown.jobs.find((job) => job.vmid === vmid);
    const backup =
      under !== undefined
        ? `backup ${under.phase}`
        : last === undefined
          ? 'no backup on record'
          : `last backup ${last.phase}${last.grade === null ? '' : `, ${last.grade}`}, ${last.opened_at}`;
    lines.push(
      `guest ${vmid}    ${backup}${token ? '' : ', no token'}${refused === null ? '' : `, refused: ${refused}`}`,
    );
  }
  for (const { message, hint } of shown.attention) lines.push(`ATTENTION    ${message}`, `             ${hint}`);
  return lines.join('\n');
}
