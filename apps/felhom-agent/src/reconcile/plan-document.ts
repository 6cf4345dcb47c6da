import type { Action, FieldChange, GuestPlan, Plan } from './model.ts';

/** A plan as `--json` prints it. */
export interface PlanDocument {
  schema: 'felhom.plan/1';
  node: string;
  observed_at: string;
  drift: boolean;
  guests: readonly GuestDocument[];
  problems: readonly { source: string; message: string }[];
  refused: null | { reason: string; would_stop: readonly number[]; hint: string };
}

interface GuestDocument {
  vmid: number;
  name: string | null;
  kind: 'lxc' | 'qemu' | null;
  standing: GuestPlan['standing'];
  reason: string | null;
  hint: string | null;
  actions: readonly (
    | { kind: 'start' | 'shutdown' }
    | { kind: 'configure'; changes: readonly Pick<FieldChange, 'field' | 'from' | 'to' | 'effect'>[] }
  )[];
  awaiting_restart: readonly { field: string; live: string | null; declared: string | null }[];
}

export function hasDrift(plan: Plan): boolean {
  return plan.guests.some((guest) => guest.actions.length > 0);
}

export function planDocument(plan: Plan): PlanDocument {
  const { refused } = plan;
  return {
    schema: 'felhom.plan/1',
    node: plan.node,
    observed_at: new Date(plan.observedAtMs).toISOString(),
    drift: hasDrift(plan),
    guests: plan.guests.map(guestDocument),
    problems: plan.problems.map(({ source, message }) => ({ source, message })),
    refused: refused === null ? null : { reason: refused.reason, would_stop: refused.wouldStop, hint: refused.hint },
  };
}

function guestDocument(guest: GuestPlan): GuestDocument {
  const { vmid, name, guestKind: kind, standing, reason, hint, awaitingRestart } = guest;
  return {
    vmid,
    name,
    kind,
    standing,
    reason,
    hint,
    actions: guest.actions.map(actionDocument),
    awaiting_restart: awaitingRestart,
  };
}

function actionDocument(action: Action): GuestDocument['actions'][number] {
  if (action.kind !== 'configure') return { kind: action.kind };
  return {
    kind: 'configure',
    changes: action.changes.map(({ field, from, to, effect }) => ({ field, from, to, effect })),
  };
}
