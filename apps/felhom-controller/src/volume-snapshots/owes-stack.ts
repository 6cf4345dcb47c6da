import { stackOf } from '../quiesce/marker.ts';

/** Whether a marker owes containers of this stack a start. */
export function owesStack(
  { debts }: { debts: readonly { project: string | null; name: string }[] },
  stack: string,
): boolean {
  return debts.some((debt) => stackOf(debt) === stack);
}
