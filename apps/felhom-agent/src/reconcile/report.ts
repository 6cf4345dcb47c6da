import type { ActionOutcome } from './action-record.ts';
import type { GuestOutcome, LastPass } from './last-pass.ts';
import type { AwaitingRestart, DesiredProblem, Refusal } from './model.ts';
import { leavesAGuestOut, tellProblem } from './tell-problem.ts';

/** One action of a pass as it is told. */
export interface ActionReport {
  /** Its entry in the journal: `journal show ID`. null where nothing was begun. */
  id: string | null;
  action: string;
  upid: string | null;
  /** null: not known yet; the next pass or start resolves it first. */
  outcome: ActionOutcome | null;
  reason: string | null;
}

export interface GuestReport {
  vmid: number;
  name: string | null;
  outcome: GuestOutcome;
  reason: string | null;
  hint: string | null;
  actions: ActionReport[];
  awaiting_restart: readonly AwaitingRestart[];
}

/** An entry that an earlier run left open, and what came of it in this pass. */
export interface RecoveredReport {
  id: string;
  vmid: number;
  action: string;
  /** `open`: it could not be told yet. `held`: its guest's lane is; whoever holds it resolves it. */
  outcome: ActionOutcome | 'open' | 'held';
  reason: string | null;
}

export interface PassReport {
  schema: 'felhom.reconcile/1';
  pass_id: string;
  node: string;
  started_at: string;
  ended_at: string;
  /** `incomplete`: somebody is deferred. `refused`: the plan would stop too much; nothing of it was done. */
  outcome: LastPass['outcome'];
  /** Which version of the declaration was in force, where its source has versions. */
  desired: { guests: number; version: string | null };
  recovered: RecoveredReport[];
  /** Actions that the plan held, per guest. */
  planned: { vmid: number; actions: string[] }[];
  guests: GuestReport[];
  problems: Pick<DesiredProblem, 'source' | 'message' | 'about'>[];
  refused: null | { reason: string; would_stop: readonly number[]; hint: string };
  counts: Record<'declared' | 'planned' | GuestOutcome, number>;
}

export interface PassFacts
  extends Pick<PassReport, 'pass_id' | 'node' | 'desired' | 'recovered' | 'planned' | 'guests'> {
  startedMs: number;
  endedMs: number;
  problems: readonly DesiredProblem[];
  refused: Refusal | null;
}

/** The report of a pass. Pure. */
export function makeReport({ startedMs, endedMs, problems, refused, ...facts }: PassFacts): PassReport {
  const count = (outcome: GuestOutcome): number => facts.guests.filter((guest) => guest.outcome === outcome).length;
  const counts = {
    declared: facts.desired.guests,
    planned: facts.planned.length,
    in_sync: count('in_sync'),
    applied: count('applied'),
    failed: count('failed'),
    deferred: count('deferred'),
    held: count('held'),
    absent: count('absent'),
    elsewhere: count('elsewhere'),
  };
  return {
    schema: 'felhom.reconcile/1',
    ...facts,
    started_at: new Date(startedMs).toISOString(),
    ended_at: new Date(endedMs).toISOString(),
    outcome: outcomeOf(counts, problems.some(leavesAGuestOut), refused !== null),
    problems: problems.map(({ source, message, about }) => ({
      source,
      message,
      ...(about === undefined ? {} : { about }),
    })),
    refused: refused === null ? null : { reason: refused.reason, would_stop: refused.wouldStop, hint: refused.hint },
    counts,
  };
}

function outcomeOf(counts: PassReport['counts'], isLeftOut: boolean, refused: boolean): LastPass['outcome'] {
  if (refused) return 'refused';
  if (counts.failed > 0 || isLeftOut) return 'failed';
  if (counts.deferred > 0) return 'incomplete';
  return counts.applied > 0 ? 'applied' : 'in_sync';
}

/** What the next pass and `status` are told of this one. Pure. */
export function rememberPass(
  report: PassReport,
  locks: readonly { vmid: number; lock: string; sinceMs: number }[],
  before: LastPass | null,
): LastPass {
  const apart = report.guests.filter(({ outcome }) => outcome !== 'in_sync' && outcome !== 'applied');
  return {
    pass_id: report.pass_id,
    started_at: report.started_at,
    ended_at: report.ended_at,
    outcome: report.outcome,
    declared: report.desired.guests,
    guests: apart.map(({ vmid, outcome, reason, hint }) => {
      const known = before?.guests.find((guest) => guest.vmid === vmid && guest.outcome === outcome);
      return { vmid, outcome, reason, hint, since: known?.since ?? report.ended_at };
    }),
    locks: locks.map(({ vmid, lock, sinceMs }) => ({ vmid, lock, since: new Date(sinceMs).toISOString() })),
  };
}

/** A pass as a person reads it. */
export function reportText(report: PassReport): string {
  const { counts } = report;
  const lines: string[] = [];
  for (const { id, vmid, action, outcome, reason } of report.recovered)
    lines.push(
      `guest ${vmid}: ${action}, left open earlier (${id}): ${outcome}${reason === null ? '' : `, ${oneLine(reason)}`}`,
    );
  for (const guest of report.guests) if (isWorthTelling(guest)) lines.push(...guestLines(guest));
  for (const problem of report.problems) lines.push(oneLine(tellProblem(problem)));
  if (report.refused !== null) lines.push(`refused: ${report.refused.reason}`, `  ${report.refused.hint}`);
  if (counts.declared === 0 && report.problems.length === 0) lines.push('nothing is declared, so nothing is managed');
  else {
    const told = (['applied', 'failed', 'deferred', 'held', 'absent', 'elsewhere', 'in_sync'] as const)
      .filter((outcome) => counts[outcome] > 0)
      .map((outcome) => `${counts[outcome]} ${outcome.replace('_', ' ')}`);
    lines.push(told.length === 0 ? 'nothing to do' : told.join('; '));
  }
  return `${lines.join('\n')}\n`;
}

function isWorthTelling(guest: GuestReport): boolean {
  return guest.outcome !== 'in_sync' || guest.reason !== null || guest.awaiting_restart.length > 0;
}

function guestLines(guest: GuestReport): string[] {
  const name = guest.name === null ? '' : ` ${guest.name}`;
  const lines = [
    `guest ${guest.vmid}${name}: ${guest.outcome.replace('_', ' ')}${guest.reason === null ? '' : `: ${oneLine(guest.reason)}`}`,
  ];
  for (const { action, outcome, reason } of guest.actions)
    lines.push(`  ${action}: ${outcome ?? 'not known yet'}${reason === null ? '' : `, ${oneLine(reason)}`}`);
  for (const { field } of guest.awaiting_restart) lines.push(`  ${field}: applied, takes effect after a restart`);
  if (guest.hint !== null) lines.push(`  ${guest.hint}`);
  return lines;
}

function oneLine(text: string): string {
  return text.trim().replaceAll(/\s*\n\s*/g, '; ');
}
