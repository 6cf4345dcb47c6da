import { defineMachine } from '@felhom/phases/machine.ts';

/**
 * An attempt to upgrade a stack. `failed` is only reached before activation: the old version was never left. From
 * `activated` on there are two ways out, and no third: the new version is healthy, or the old one runs again.
 */
export const upgradeEdges = {
  idle: ['checking'],
  checking: ['downloading', 'staged', 'failed'],
  downloading: ['staged', 'failed'],
  staged: ['activated', 'failed'],
  activated: ['verifying', 'rolled_back'],
  verifying: ['success', 'rolled_back'],
  success: [],
  rolled_back: [],
  failed: [],
} as const;

export const upgradeMachine = defineMachine({
  initial: 'idle',
  terminal: ['success', 'rolled_back', 'failed'],
  edges: upgradeEdges,
});

export type UpgradePhase = keyof typeof upgradeEdges;
