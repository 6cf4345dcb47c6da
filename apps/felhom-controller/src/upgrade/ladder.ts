import type { Clock } from '@felhom/kernel/clock.ts';
import type { Engine } from '../engine/engine.ts';
import type { UpgradeBounds } from './bounds.ts';
import type { Rung } from './memory.ts';
import type { FilesPort, Probe, ProbePort } from './ports.ts';
import { type Climb, climbContainers, climbDisk, climbHealth, climbProbe, climbStable } from './rungs.ts';

/*
 * Invariants
 * - A rung passes only by what was seen, and every rung below a failed one stays unclimbed.
 * - A stack without health checks is gated all the same: it has to run, answer its probe, and be steady.
 * - A docker that does not answer is unknown, not unhealthy: it is asked again until the bound of the rung.
 */

export interface LadderPorts {
  clock: Clock;
  engine: Pick<Engine, 'list'>;
  probe: ProbePort;
  files: Pick<FilesPort, 'unwritable'>;
}

/** What has to run, and as what. */
export interface Expected {
  service: string;
  /** Null: whatever image. */
  imageId: string | null;
  /** False: it was not healthy before either; a crash loop is what is expected of it then. */
  healthy: boolean;
  /** It does its work and ends with 0, and others wait for that. */
  task: boolean;
}

export interface LadderOptions {
  stack: string;
  expected: readonly Expected[];
  probe: Probe | null;
  bounds: UpgradeBounds;
  /** Where the data lies. */
  folders: readonly string[];
  stop: AbortSignal;
}

export interface LadderEnd {
  rungs: Rung[];
  /** Null: healthy. */
  why: string | null;
}

const order: readonly (readonly [Rung['name'], Climb])[] = [
  ['containers', climbContainers],
  ['health', climbHealth],
  ['probe', climbProbe],
  ['stable', climbStable],
  ['disk', climbDisk],
];

/** Climbs until a rung fails. */
export async function climb(ports: LadderPorts, options: LadderOptions): Promise<LadderEnd> {
  const rungs: Rung[] = [];
  for (const [name, step] of order) {
    const end = options.stop.aborted ? { failed: 'asked to end', detail: '' } : await step(ports, options);
    if (end === null) rungs.push({ name, result: 'skipped', detail: 'there is none' });
    else rungs.push({ name, result: end.failed === null ? 'passed' : 'failed', detail: end.failed ?? end.detail });
    if (end !== null && end.failed !== null) return { rungs, why: `${name}: ${end.failed}` };
  }
  return { rungs, why: null };
}
