import { textOf } from './quick-files.ts';
import { type ReconcileGlance, reconcileAt } from './reconcile-glance.ts';

/**
 * A glance at the state folder, without the schemas that a writer needs: fields of another kind than
 * expected count as absent. What is damaged is not judged here: `damaged` tells to read it properly.
 */
export interface Glance {
  serving: { url: string | null; fingerprint: string | null };
  guests: GuestGlance[];
  alerts: { message: string; hint: string }[];
  jobs: JobGlance[];
  /** Who this agent is to those who sign operations; null before the first `serve` or `operation list`. */
  agentId: string | null;
  /** Signed operations that nobody saw the end of yet. */
  openOperations: number;
  reconcile: ReconcileGlance;
  damaged: string[];
}

export interface GuestGlance {
  vmid: number;
  hasToken: boolean;
  generation: number;
  refused: string | null;
}

export interface JobGlance {
  vmid: number;
  job_id: string;
  phase: string;
  origin: string;
  opened_at: string;
  ended_at: string | null;
  volid: string | null;
  open: boolean;
  grade: string | null;
  grade_reason: string | null;
  error: { message: string; hint: string } | null;
}

type Fields = Record<string, unknown>;

export function glanceAt(stateDir: string): Glance {
  const damaged: string[] = [];
  const value = (name: string): Fields => {
    const text = textOf(`${stateDir}/${name}`);
    if (text === undefined) return {};
    const file = parse(text);
    if (file === null || file['version'] !== 1) damaged.push(name);
    return file === null || file['version'] !== 1 ? {} : fields(file['value']);
  };
  const serving = value('serving.json');
  const operations = value('operations.json');
  return {
    serving: { url: word(serving['url']), fingerprint: word(serving['fingerprint']) },
    guests: list(value('guests.json')['guests']).map(toGuest),
    alerts: list(value('alerts.json')['alerts']).map(({ message, hint }) => ({
      message: word(message) ?? '',
      hint: word(hint) ?? '',
    })),
    agentId: word(operations['agent_id']),
    openOperations: list(operations['operations']).filter((each) => each['outcome'] === null).length,
    reconcile: reconcileAt(stateDir, value, damaged),
    jobs: readJobs(textOf(`${stateDir}/journal.jsonl`) ?? '', damaged),
    damaged,
  };
}

/** The jobs of a journal's lines (`LENGTH CRC JSON`), the newest value of each field counting. */
function readJobs(text: string, damaged: string[]): JobGlance[] {
  const jobs = new Map<string, Fields>();
  const lines = text.split('\n');
  // What follows the last newline is an append under way, or torn: no record either way.
  lines.pop();
  for (const line of lines) {
    const record = parse(line.slice(line.indexOf(' ', line.indexOf(' ') + 1) + 1));
    if (record === null) damaged.push('journal.jsonl');
    else if (record['kind'] === 'opened') jobs.set(String(fields(record['job'])['job_id']), fields(record['job']));
    else {
      const id = String(record['job_id']);
      const job = jobs.get(id);
      if (job !== undefined) jobs.set(id, { ...job, ...fields(record['set']) });
    }
  }
  return [...jobs.values()].map(toJob);
}

function toGuest(entry: Fields): GuestGlance {
  const identity = fields(entry['identity']);
  return {
    vmid: Number(entry['vmid']),
    hasToken: word(entry['token_sha256']) !== null,
    generation: Number(identity['generation'] ?? 0),
    refused: word(fields(identity['refused'])['reason']),
  };
}

function toJob(job: Fields): JobGlance {
  const phase = word(job['phase']) ?? '';
  const ended = phase === 'done' || phase === 'failed' || phase === 'cancelled';
  const started = word(job['intent_at']) !== null || word(job['upid']) !== null;
  const report = fields(job['report']);
  const degraded = word(job['degraded']);
  const reported = word(report['grade']);
  const consistent = degraded === null && reported === 'app-consistent';
  const reason =
    degraded ??
    (reported === null ? (job['quiesce'] === true ? 'no_report' : 'not_quiesced') : word(report['grade_reason']));
  const error = fields(job['error']);
  return {
    vmid: Number(job['vmid']),
    job_id: word(job['job_id']) ?? '',
    phase,
    origin: word(job['origin']) ?? '',
    opened_at: word(job['opened_at']) ?? '',
    ended_at: word(job['ended_at']),
    volid: word(job['volid']),
    open: !ended || (started && job['task_ended'] !== true),
    grade: phase === 'done' ? (consistent ? 'app-consistent' : 'crash-consistent') : null,
    grade_reason: phase === 'done' ? reason : null,
    error:
      word(error['message']) === null
        ? null
        : { message: word(error['message']) ?? '', hint: word(error['hint']) ?? '' },
  };
}

function parse(text: string): Fields | null {
  try {
    const value: unknown = JSON.parse(text);
    return isFields(value) ? value : null;
  } catch {
    // Not JSON: the caller counts it as damaged.
    return null;
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function fields(value: unknown): Fields {
  return isFields(value) ? value : {};
}

function list(value: unknown): Fields[] {
  return Array.isArray(value) ? value.filter(isFields) : [];
}

function word(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
