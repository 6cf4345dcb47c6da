import { Failure } from '@felhom/kernel/failure.ts';
import type { Transaction } from './run.ts';
import { stopStack } from './stop-stack.ts';

/** Everything of the project, gracefully: what it writes outside of its own data is not rolled back. */
export async function removeAll(transaction: Transaction): Promise<void> {
  const {
    ports: { engine },
    debt,
    settings: { quiesce },
  } = transaction;
  const own = await stopStack(transaction);
  for (const { id } of own) await engine.remove(id, { boundMs: quiesce.startMs });
  const left = (await engine.list()).filter(({ project }) => project === debt.stack);
  if (left.length === 0) return;
  throw new Failure('apps_down', {
    message: `${left.map(({ name }) => name).join(', ')} cannot be removed, and ${debt.stack} is DOWN until they are`,
    hint: `Look at: docker rm --force ${left[0]?.name ?? ''}; recovery is tried again every minute, or now: felhom-controller recover`,
  });
}
