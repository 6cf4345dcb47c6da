import type { NodePlan } from './agent-vzdump.ts';

/** What is played, and crashed into. */
export interface AgentScenario {
  name: string;
  gate: 'hook' | 'log';
  node?: NodePlan;
  /** Who asks for the backup. Default: the controller. */
  asks?: 'controller' | 'operator' | 'pve';
  /** What becomes of the guest's controller. Default: it keeps its part. */
  controller?: 'keeps its part' | 'dies asking' | 'dies at its gate' | 'cancels' | 'never calls';
  /** How long its apps take to stop. Default: 200 ms. */
  stopMs?: number;
  /** How long vzdump may be kept waiting at its hook. Default: 2 min. */
  holdMaxMs?: number;
  /** The host is restarted this long after the beginning. */
  hostRestartsAtMs?: number;
  /** How the one job ends when nothing crashes. */
  ends: 'done' | 'failed' | 'cancelled';
  grade?: 'app-consistent' | 'crash-consistent';
  policy?: Record<string, unknown>;
  bounds?: Record<string, string>;
}
