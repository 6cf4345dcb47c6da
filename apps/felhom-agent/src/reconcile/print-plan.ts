import type { Action, DesiredProblem, FieldChange, GuestPlan, Plan, Standing } from './model.ts';
import { showField } from './plan-fields.ts';

/** A plan as a person reads it at a glance: what changes first, guest by guest, and one line of figures at the end. */
export function planText(plan: Plan): string {
  const told = plan.guests.filter((guest) => guest.standing !== 'in_sync' || isWorthTelling(guest));
  const blocks = told.map(guestText);
  const problems = plan.problems.map(problemText);
  const refused = plan.refused === null ? [] : [`refused: ${plan.refused.reason}\n  ${plan.refused.hint}`];
  return [...blocks, ...problems, summary(plan), ...refused].join('\n');
}

function isWorthTelling(guest: GuestPlan): boolean {
  return guest.awaitingRestart.length > 0 || guest.reason !== null;
}

function problemText({ message, about }: DesiredProblem): string {
  if (about === 'source') return message;
  return `not understood, and so left alone:\n  ${message.replaceAll('\n', '\n  ')}`;
}

const standings: Readonly<Record<Standing, string>> = {
  in_sync: 'in sync',
  drift: 'to change',
  deferred: 'deferred',
  held: 'held',
  absent: 'absent',
  elsewhere: 'elsewhere',
  failed: 'failed',
};

function guestText(guest: GuestPlan): string {
  const name = guest.name === null ? '' : ` ${guest.name}`;
  const reason = guest.reason === null ? '' : `: ${guest.reason.replaceAll('\n', '\n  ')}`;
  const standing = guest.standing === 'drift' ? '' : `, ${standings[guest.standing]}`;
  const lines = [`guest ${guest.vmid}${name}${standing}${reason}`];
  if (guest.hint !== null) lines.push(`  ${guest.hint}`);
  for (const action of guest.actions) lines.push(...actionLines(action));
  for (const { field, live, declared } of guest.awaitingRestart)
    lines.push(
      `  ${field.padEnd(12)} ${showField(field, declared)} is applied and takes effect after a restart (now ${showField(field, live)})`,
    );
  return lines.join('\n');
}

function actionLines(action: Action): string[] {
  if (action.kind === 'configure') return action.changes.flatMap(changeLines);
  return [action.kind === 'start' ? '  + start' : '  - stop'];
}

function changeLines(change: FieldChange): string[] {
  const later = change.effect === 'restart' ? '   (takes effect after a restart)' : '';
  if (change.field === 'description' && `${change.from ?? ''}${change.to ?? ''}`.includes('\n'))
    return [`  ~ description${later}`, ...marked('-', change.from), ...marked('+', change.to)];
  const [from, to] = [showField(change.field, change.from), showField(change.field, change.to)];
  return [`  ~ ${change.field.padEnd(12)} ${from} -> ${to}${later}`];
}

/** Lines of a text, control characters made visible: a description is anybody's, and a terminal obeys them. */
function marked(sign: string, text: string | null): string[] {
  if (text === null) return [];
  return text.split('\n').map((line) => `      ${sign} ${JSON.stringify(line).slice(1, -1).replaceAll('\\"', '"')}`);
}

function summary({ guests, problems }: Plan): string {
  const actions = guests.flatMap((guest) => guest.actions);
  const count = (kind: Action['kind']): number => actions.filter((action) => action.kind === kind).length;
  if (guests.length === 0 && problems.length === 0) return 'nothing is declared, so nothing is managed';
  const acts = [`${count('configure')} to change`, `${count('start')} to start`, `${count('shutdown')} to stop`];
  const rest = (Object.keys(standings) as Standing[])
    .filter((standing) => standing !== 'drift')
    .map((standing) => ({ standing, guests: guests.filter((guest) => guest.standing === standing).length }))
    .filter((each) => each.guests > 0)
    .map((each) => `${each.guests} ${standings[each.standing]}`);
  return [...(actions.length === 0 ? ['no changes'] : [acts.join(', ')]), ...rest].join('; ');
}
