import type { DesiredProblem } from './model.ts';

/** A problem of what is declared, as a person reads it: the source speaks for itself, a file is named with what follows for its guest. */
export function tellProblem({ about, message }: Pick<DesiredProblem, 'about' | 'message'>): string {
  return about === 'source' ? message : `not understood, and so left alone: ${message}`;
}

/**
 * Whether some guest is not kept as declared because of it. Trouble with the source is none of that: what was declared
 * last stays in force, and the guests are as it says.
 */
export function leavesAGuestOut({ about }: Pick<DesiredProblem, 'about'>): boolean {
  return about !== 'source';
}
