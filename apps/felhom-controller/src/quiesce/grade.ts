import type { Grade } from '@felhom/guest-api/schema.ts';

/** How one container went down. */
export interface StopEvidence {
  name: string;
  holdsData: boolean;
  /** Seen down after the stop. */
  down: boolean;
  exitCode: number;
  oomKilled: boolean;
}

/** Everything a grade is judged by, gathered while it happened. */
export interface GradeEvidence {
  stops: readonly StopEvidence[];
  /** Docker did not answer when it was asked whether the apps were down. */
  unlooked: boolean;
  /** Names of containers that were started between the stop and the proof. */
  startedMeanwhile: readonly string[];
  /** Why the event stream does not cover the time from stop to proof; null: it does. */
  eventsBroken: string | null;
  /** Names of what ran at the proof and is not named by configuration; null: nobody could look. */
  runningAtProof: readonly string[] | null;
  /** Why the apps came back before the snapshot was proven; null: they did not. */
  resumedEarly: string | null;
  /** What the host says of its side (`gate_closed`, …). */
  hostDegraded: string | null;
  /** before_stop commands that failed, in words. */
  commandsFailed: readonly string[];
}

/** The grade, and where it is not the best one every reason for that, the weightiest first. */
export function judgeGrade(evidence: GradeEvidence): { grade: Grade; reason: string | null } {
  const reasons = [
    ...(evidence.resumedEarly === null
      ? []
      : [`the apps came back before the snapshot was proven: ${evidence.resumedEarly}`]),
    ...(evidence.hostDegraded === null || evidence.hostDegraded === evidence.resumedEarly
      ? []
      : [evidence.hostDegraded]),
    ...(evidence.unlooked ? ['docker did not say whether the apps were down'] : []),
    ...evidence.stops.flatMap(stopReason),
    ...evidence.startedMeanwhile.map((name) => `${name} was started between the stop and the snapshot`),
    ...runningReasons(evidence),
    ...(evidence.eventsBroken === null
      ? []
      : [`nobody saw whether something started meanwhile: ${evidence.eventsBroken}`]),
    ...evidence.commandsFailed,
  ];
  if (reasons.length === 0) return { grade: 'app-consistent', reason: null };
  return { grade: 'crash-consistent', reason: shorten([...new Set(reasons)]) };
}

function stopReason(stop: StopEvidence): string[] {
  if (!stop.down) return [`${stop.name} did not stop`];
  if (!stop.holdsData) return [];
  if (stop.oomKilled) return [`${stop.name} was killed for want of memory`];
  return stop.exitCode === 137 ? [`${stop.name} did not end within its grace and was killed`] : [];
}

function runningReasons({ runningAtProof, stops }: GradeEvidence): string[] {
  if (runningAtProof === null) return ['docker did not say what ran at the snapshot'];
  const told = new Set(stops.filter(({ down }) => !down).map(({ name }) => name));
  return runningAtProof.filter((name) => !told.has(name)).map((name) => `${name} was running at the snapshot`);
}

const longest = 900;

function shorten(reasons: readonly string[]): string {
  const text = reasons.join('; ');
  return text.length <= longest ? text : `${text.slice(0, longest)} …`;
}
