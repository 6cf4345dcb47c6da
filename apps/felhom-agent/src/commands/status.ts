import { Failure, failures } from '@felhom/kernel/failure.ts';
import { type Declared, declaredAttention } from '../status/declared.ts';
import { type Glance, type GuestGlance, glanceAt, type JobGlance } from '../status/glance.ts';
import { defaultConfigFile, guestsAt, type Places, quickPlaces } from '../status/places.ts';
import { type ReconcileGlance, reconcileAttention } from '../status/reconcile-glance.ts';
import type { CommandContext } from './context.ts';

interface Attention {
  message: string;
  hint: string;
}

type JobRow = Omit<JobGlance, 'open' | 'error'>;

interface Status {
  schema: 'felhom.status/1';
  configured: true;
  config: string;
  url: string | null;
  listen: string;
  fingerprint: string | null;
  socket: string;
  agent_id: string | null;
  guests: { vmid: number; has_token: boolean; generation: number; refused: string | null }[];
  jobs: JobRow[];
  last: JobRow[];
  /** The signed document that declares the guests; null where files do. */
  declared: Declared | null;
  /** The newest pass of reconcile, and what nobody saw the end of yet. */
  reconcile: ReconcileGlance;
  attention: Attention[];
  live: Record<string, unknown> | null;
}

/**
 * `status`: reads state only, so that it answers whatever is broken, and quickly: what reads files by
 * their schemas is loaded where something is wrong with one. `--live` asks serve and PVE.
 */
export async function status(
  context: CommandContext,
  { check, live }: { check: boolean; live: boolean },
): Promise<void> {
  const file = context.flags.config ?? defaultConfigFile;
  const places = await readable(async () => quickPlaces(file) ?? (await placesByYaml(file)));
  if (!places.configured) return notConfigured(context, file);
  const glance = await readable(async () => glanceAt(places.state));
  const problems = check ? await configurationProblem(file) : [];
  const asked = live ? await (await import('../status/live.ts')).askLive(context.flags.config) : null;
  const document = await describe(places, glance, [...problems, ...(asked?.attention ?? [])]);
  document.live = asked?.answer ?? null;
  context.reporter.result(document, () => text(document, asked?.lines ?? []));
  if (check && document.attention.length > 0) context.setExit(failures.attention.exit);
}

async function readable<T>(look: () => Promise<T>): Promise<T> {
  try {
    return await look();
  } catch (cause) {
    const denied = cause instanceof Error && 'code' in cause && (cause.code === 'EACCES' || cause.code === 'EPERM');
    if (!denied) throw cause;
    throw new Failure('refused', {
      message: `only root may read this: ${cause.message}`,
      hint: 'Run it as root.',
      cause,
    });
  }
}

async function placesByYaml(file: string): Promise<Places> {
  const { loadAgentConfig } = await import('../load-config.ts');
  const { config } = await loadAgentConfig(file);
  const { listen, state, socket, guests } = config;
  return { configFile: file, configured: true, listen, state, socket, guests };
}

/** What `config check` would say; nothing when all is well. */
async function configurationProblem(file: string): Promise<Attention[]> {
  const { loadConfig } = await import('../load-config.ts');
  try {
    const { problems } = await loadConfig(file);
    const told = problems.map(({ message, about }) =>
      about === 'source' ? message : `a guest is left alone, because its file is not understood: ${message}`,
    );
    return [...new Set(told)].map((message) => ({
      message,
      hint: 'felhom-agent config check',
    }));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return [{ message: `the configuration is broken: ${message}`, hint: 'felhom-agent config check' }];
  }
}

/** An agent that nobody has set up yet neglects nothing: 0, with `--check` too, as in the controller. */
function notConfigured(context: CommandContext, file: string): void {
  const document = { schema: 'felhom.status/1', configured: false, config: file, attention: [] } as const;
  context.reporter.result(document, () =>
    [
      `felhom-agent is not configured: there is no ${file}`,
      '  Write one that names the node and its token; felhom-agent config schema tells every key.',
    ].join('\n'),
  );
}

async function describe(places: Places, glance: Glance, more: readonly Attention[]): Promise<Status> {
  const files = guestsAt(places.guests);
  const vmids = [...new Set([...files.keys(), ...glance.guests.map(({ vmid }) => vmid)])].toSorted((a, b) => a - b);
  const guests = vmids.map((vmid) => {
    const known = glance.guests.find((guest) => guest.vmid === vmid);
    const hasToken = known?.hasToken === true || files.get(vmid)?.hasToken === true;
    return { vmid, has_token: hasToken, generation: known?.generation ?? 0, refused: known?.refused ?? null };
  });
  const newest = vmids.flatMap((vmid) => glance.jobs.findLast((job) => job.vmid === vmid && !job.open) ?? []);
  const damage = await Promise.all(glance.damaged.map(async (name) => await describeDamage(places, name)));
  const { declared } = glance;
  const attention = [
    ...more,
    ...(declared === null ? [] : declaredAttention(declared, Date.now())),
    ...damage.flat(),
    ...glance.alerts,
    ...refusals(glance.guests, glance.alerts),
    ...openOperations(glance),
    ...reconcileAttention(glance.reconcile, Date.now()),
    ...newest.flatMap(failure),
  ];
  return {
    schema: 'felhom.status/1',
    configured: true,
    config: places.configFile,
    url: glance.serving.url,
    listen: places.listen,
    fingerprint: glance.serving.fingerprint,
    socket: places.socket,
    agent_id: glance.agentId,
    guests,
    jobs: glance.jobs.filter((job) => job.open).map(toRow),
    last: newest.map(toRow),
    declared,
    reconcile: glance.reconcile,
    attention,
    live: null,
  };
}

function toRow({ open: _open, error: _error, ...row }: JobGlance): JobRow {
  return row;
}

/** What is wrong with a file of the state folder, in the words of those who read it properly. */
async function describeDamage({ state }: Places, name: string): Promise<Attention[]> {
  const { damageOf } = await import('../status/damage.ts');
  return await damageOf(state, name);
}

function refusals(guests: readonly GuestGlance[], alerts: readonly Attention[]): Attention[] {
  return guests.flatMap(({ vmid, refused }) => {
    const hint = `felhom-agent guest adopt ${vmid}`;
    if (refused === null || alerts.some((alert) => alert.hint.endsWith(hint))) return [];
    return [{ message: `guest ${vmid} is refused (${refused})`, hint }];
  });
}

function openOperations({ openOperations: open }: Glance): Attention[] {
  if (open === 0) return [];
  const message = `what became of ${open === 1 ? 'a signed operation' : `${open} signed operations`} is not known yet`;
  return [{ message, hint: 'felhom-agent recover looks; felhom-agent operation list shows it.' }];
}

function failure({ vmid, phase, error }: JobGlance): Attention[] {
  if (phase !== 'failed') return [];
  const message = `the newest backup of guest ${vmid} failed: ${error?.message ?? 'no reason is on record'}`;
  return [{ message, hint: error?.hint ?? `felhom-agent backup now ${vmid}` }];
}

function text(shown: Status, live: readonly string[]): string {
  const lines = [
    `address      ${shown.url ?? `https://${shown.listen}`}`,
    ...(shown.agent_id === null ? [] : [`agent id     ${shown.agent_id}`]),
    `fingerprint  ${shown.fingerprint ?? 'none yet: the first felhom-agent serve makes the certificate'}`,
    ...live,
  ];
  for (const { vmid, has_token: token, refused } of shown.guests) {
    lines.push(
      `guest ${vmid}    ${backupText(shown, vmid)}${token ? '' : ', no token'}${refused === null ? '' : `, refused: ${refused}`}`,
    );
  }
  if (shown.declared?.serial != null)
    lines.push(
      `declared     by the signed document with serial ${shown.declared.serial}, accepted ${shown.declared.accepted_at}`,
    );
  lines.push(...reconcileText(shown.reconcile));
  for (const { message, hint } of shown.attention) lines.push(`ATTENTION    ${message}`, `             ${hint}`);
  return lines.join('\n');
}

function backupText(shown: Status, vmid: number): string {
  const under = shown.jobs.find((job) => job.vmid === vmid);
  if (under !== undefined) return `backup ${under.phase}`;
  const last = shown.last.find((job) => job.vmid === vmid);
  if (last === undefined) return 'no backup on record';
  return `last backup ${last.phase}${last.grade === null ? '' : `, ${last.grade}`}, ${last.opened_at}`;
}

function reconcileText({ last, open }: ReconcileGlance): string[] {
  if (last === null) return [];
  const apart = last.apart.length === 0 ? 'all as declared' : `${last.apart.length} not as declared`;
  const under = open.length === 0 ? '' : `, ${open.length} under way`;
  return [`reconcile    ${last.declared} declared, ${apart}${under}, ${last.ended_at}`];
}
