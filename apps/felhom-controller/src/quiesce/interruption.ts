import { Interruption } from '@felhom/cli/signals.ts';
import { Failure } from '@felhom/kernel/failure.ts';

/** SIGTERM counts where the reason is something else: whoever aborts us means an end. */
export function isTerminated(stop: AbortSignal): boolean {
  return !(stop.reason instanceof Interruption) || stop.reason.signal === 'SIGTERM';
}

/** The failure of a run that was asked to end; `state` says how the apps are now. */
export function interruptionFailure(
  stop: AbortSignal,
  state: string,
  hint = 'Start again: felhom-controller backup now',
): Failure {
  const terminated = isTerminated(stop);
  return new Failure(terminated ? 'terminated' : 'interrupted', {
    message: `${terminated ? 'asked to end by SIGTERM' : 'interrupted from the keyboard'}; ${state}`,
    hint,
  });
}
