import { Failure } from '@felhom/kernel/failure.ts';
import { stackOf } from './marker.ts';
import { otherDebtsOwed } from './other-debts.ts';
import type { RecoverPorts } from './ports.ts';

/**
 * Drops everything that is owed to a stack, unpaid, whatever kind it is of: settled halfway by another debt, it would be
 * touched all the same. Answers what was dropped, by name. @throws Failure `not_found` where nothing is owed to it, and
 * something to others.
 */
export async function forgive(
  { markers, otherDebts = [] }: Pick<RecoverPorts, 'markers' | 'otherDebts'>,
  stack: string,
): Promise<string[]> {
  const forgiven: string[] = [];
  for (const debts of otherDebts) if (await debts.forgive(stack)) forgiven[0] = stack;
  const read = await markers.read();
  if (read.kind !== 'present') return forgiven;
  const { debts, after_start: commands } = read.value;
  const dropped = debts.filter((debt) => stackOf(debt) === stack);
  const kept = {
    debts: debts.filter((debt) => !dropped.includes(debt)),
    after_start: commands.filter((command) => command.stack !== stack),
  };
  if (kept.debts.length < debts.length || kept.after_start.length < commands.length) {
    await markers.write({ ...read.value, ...kept });
    return [...forgiven, ...dropped.map(({ name }) => name)];
  }
  if (forgiven.length > 0) return forgiven;
  const others = (await otherDebtsOwed({ otherDebts })).flatMap((other) => other.stack ?? []);
  const owed = [...debts.map(stackOf), ...commands.map((command) => command.stack), ...others];
  throw new Failure('not_found', {
    message: `nothing is owed to a stack called ${stack}`,
    hint: `Owed are: ${[...new Set(owed)].join(', ')}. Try: felhom-controller recover --forgive NAME`,
  });
}
