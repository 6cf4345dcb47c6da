import type { JobStatus } from '@felhom/guest-api/schema.ts';
import type { AppsDown } from './apps-down.ts';
import type { AppsUp } from './apps-up.ts';
import type { CaptureEnd } from './capture.ts';
import type { GradeEvidence } from './grade.ts';
import { hasWritableData } from './plan.ts';

/** Gathers what the grade is judged by. */
export function gatherEvidence(
  down: AppsDown,
  captured: CaptureEnd,
  up: AppsUp,
  status: JobStatus | null,
): GradeEvidence {
  return {
    stops:
      down.seen.size === 0
        ? []
        : down.plan.stop.map((container) => {
            const state = down.seen.get(container.id);
            return {
              name: container.name,
              holdsData: hasWritableData(container),
              // Gone altogether (null) is down; never looked at (undefined) is not.
              down:
                state === null || state?.status === 'exited' || state?.status === 'dead' || state?.status === 'created',
              exitCode: state?.exitCode ?? 0,
              oomKilled: state?.oomKilled === true,
            };
          }),
    // Nobody looks where the stop was broken off: then the apps come back early, and that is said.
    unlooked: down.seen.size === 0 && down.plan.stop.length > 0 && !down.halted,
    startedMeanwhile: startedMeanwhile(down, up.resumeBeganMs),
    eventsBroken: captured.eventsBroken,
    runningAtProof: captured.proven ? unexpectedlyRunning(down, captured) : [],
    resumedEarly: captured.early,
    hostDegraded: status?.degraded ?? null,
    commandsFailed: down.commandsFailed,
  };
}

function unexpectedlyRunning({ plan }: AppsDown, { runningAtProof }: CaptureEnd): string[] | null {
  return runningAtProof?.filter(({ id }) => !plan.keptByConfiguration.has(id)).map(({ name }) => name) ?? null;
}

/**
 * Starts between our stop and our resume, by the engine's own times. A container of ours counts from
 * the moment it was down: a crash loop may have started once more while it was being stopped.
 */
function startedMeanwhile({ events, seen, plan, stopBeganMs }: AppsDown, resumeBeganMs: number): string[] {
  const starts = events?.seen().filter(({ action, timeMs }) => action === 'start' && timeMs < resumeBeganMs) ?? [];
  const counted = starts.filter(({ containerId, timeMs }) => {
    if (plan.keptByConfiguration.has(containerId)) return false;
    const state = seen.get(containerId);
    return timeMs > (state == null ? stopBeganMs : Date.parse(state.finishedAt));
  });
  return [...new Set(counted.map(({ name }) => name))];
}
