import type { ImagesPlace } from './disk.ts';

/** What a lab is made with. Everything has a default that suits most tests. */
export interface LabOptions {
  /** Which gate the agent uses. Default `hook`. */
  gate?: 'hook' | 'log';
  /** Where the engine's images lie: see disk.ts. Default `beside`. */
  images?: ImagesPlace;
  /** Added to the agent's configuration. */
  agent?: Record<string, unknown>;
  /** Added to `bounds` of the agent's configuration. */
  agentBounds?: Record<string, string>;
  /** Added to the controller's configuration. */
  controller?: Record<string, unknown>;
  /** Added to the description of guest 101 on the simulator's command line, such as `snapshots=no`. */
  guest?: string;
  /** Added to the simulator's command line. */
  simulator?: readonly string[];
  /** Lines added to the hook's policy. */
  hookPolicy?: readonly string[];
}
