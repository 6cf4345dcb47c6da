import { type Declared, declaredAt } from './declared.ts';
import { type ReconcileGlance, reconcileAt } from './reconcile-glance.ts';
import { type Fields, fields, list, type StateReading, stateReading, word } from './state-reading.ts';

/** A glance at the state folder. What is damaged is not judged here: `damaged` tells to read it properly. */
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
  /** The signed document in force; null where none is kept. */
  declared: Declared | null;
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

export function glanceAt(stateDir: string): Glance {
  const reading = stateReading(stateDir);
  const serving = reading.value('serving.json');
  const operations = reading.value('operations.json');
  const glance = {
    serving: { url: word(serving['url']), fingerprint: word(serving['fingerprint']) },
    guests: list(reading.value('guests.json')['guests']).map(toGuest),
    alerts: list(reading.value('alerts.json')['alerts']).map(({ message, hint }) => ({
      message: word(message) ?? '',
      hint: word(hint) ?? '',
    })),
    agentId: word(operations['agent_id']),
    openOperations: list(operations['operations']).filter((each) => each['outcome'] === null).length,
    reconcile: reconcileAt(reading),
    declared: declaredAt(reading),
    jobs: jobsAt(reading),
  };
  return { ...glance, damaged: [...reading.damaged] };
}

/** The newest value of each field counts. */
function jobsAt(reading: StateReading): JobGlance[] {
  const jobs = new Map<string, Fields>();
  for (const record of reading.records('journal.jsonl')) {
    if (record['kind'] === 'opened') jobs.set(String(fields(record['job'])['job_id']), fields(record['job']));
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
