/** Every bound of an upgrade. Configuration overrides each one; these are the defaults of docs/architecture.md. */
export interface UpgradeBounds {
  /** The whole transaction, from the first stop: past it, it is taken for hung. */
  maxUpgradeMs: number;
  /** How long nothing may restart or end before the new version counts as healthy. Never below the longest start period. */
  stableMs: number;
  /** How long a service may take to be healthy beyond its own start period, and a probe to answer. */
  healthMarginMs: number;
  /** Between two looks of the health ladder. */
  lookEveryMs: number;
  /** Between a failed climb of the ladder and the next, where more than one may fail. */
  retryMs: number;
  /** One try of a probe. */
  probeMs: number;
  /** Fetching one image. */
  pullMs: number;
  /** Asking a registry for a digest. */
  registryMs: number;
  /** `compose up` of the new version, its migrations included; and of the old one in a rollback. */
  upMs: number;
  /** After activation, data is not rolled back any more without a person once this has passed. */
  verifyLimitMs: number;
  /** Kept free on the disk of state and data, besides what a snapshot takes. */
  minFreeBytes: number;
}

export const defaultUpgradeBounds: UpgradeBounds = {
  maxUpgradeMs: 2 * 3_600_000,
  stableMs: 30_000,
  healthMarginMs: 60_000,
  lookEveryMs: 250,
  retryMs: 5_000,
  probeMs: 5_000,
  pullMs: 1_800_000,
  registryMs: 30_000,
  upMs: 900_000,
  verifyLimitMs: 3_600_000,
  minFreeBytes: 64 * 2 ** 20,
};
