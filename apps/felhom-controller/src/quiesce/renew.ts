import type { ComposeService, ContainerState } from '../engine/engine.ts';
import type { Debt } from './marker.ts';
import type { PayPorts } from './pay.ts';
import type { DebtTracker, PayContext } from './pay-one.ts';

/*
 * A container that shares the network (or pid, or ipc) namespace of another names that one by id. When the other was made
 * anew while both were down, it can never be started again: it has to be made anew itself, as `docker compose up` would.
 *
 * Invariants
 * - Only what cannot be started is replaced, and never while a container of the same service runs.
 * - One at a time per service: Compose replaces all its containers at once.
 */

/** Whether the container is there, but one whose namespace it lives in is not. */
export async function livesInNoNamespace({ engine }: PayPorts, { id }: DebtTracker): Promise<boolean> {
  const [state] = await engine.inspect([id]);
  if (state === undefined || state === null || state.namespacesOf.length === 0) return false;
  return (await engine.inspect(state.namespacesOf)).some((holder) => holder === null);
}

/** Has Compose make the service's containers anew from its recorded files. True: look again. */
export async function renew(ports: PayPorts, tracker: DebtTracker, context: PayContext): Promise<boolean> {
  tracker.why = 'the container whose network it lives in was made anew, so it has to be made anew as well';
  const service = composeServiceOf(tracker.debt);
  if (service === null) return false;
  const key = JSON.stringify([service.project, service.service]);
  const underWay = context.renewals.get(key) ?? renewService(ports, service, context);
  context.renewals.set(key, underWay);
  try {
    await underWay;
  } finally {
    if (context.renewals.get(key) === underWay) context.renewals.delete(key);
  }
  return true;
}

async function renewService({ engine }: PayPorts, service: ComposeService, context: PayContext): Promise<void> {
  const { bounds, inheritFds } = context;
  const peers = (await engine.list()).filter((each) => isOf(each, service));
  if (peers.some(({ status }) => status === 'running' || status === 'restarting' || status === 'paused')) return;
  await engine.recreate(service, { which: 'all', boundMs: bounds.startMs, inheritFds });
}

function isOf({ project, service, oneoff }: ContainerState, wanted: ComposeService): boolean {
  return !oneoff && project === wanted.project && service === wanted.service;
}

/** From where Compose can make a debt's container again; null: nobody knows. */
export function composeServiceOf(debt: Debt): ComposeService | null {
  if (debt.project === null || debt.service === null || debt.compose_files.length === 0) return null;
  return {
    project: debt.project,
    service: debt.service,
    composeFiles: debt.compose_files,
    envFiles: debt.env_files,
    workingDir: debt.working_dir,
  };
}
