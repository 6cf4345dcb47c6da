import { formatDuration } from '@felhom/cli/quantity.ts';
import { durationMs, sizeBytes } from '@felhom/cli/quantity-schema.ts';
import { z } from 'zod';
import { defaultUpgradeBounds, type UpgradeBounds } from './bounds.ts';
import { parseWindow } from './window.ts';

const statusRange = z
  .string()
  .regex(/^[1-5]\d\d(-[1-5]\d\d)?$/, 'expected a status such as 200, or a range such as 200-399');

const probe = z
  .union([
    z.strictObject({
      http: z.string().regex(/^https?:\/\/\S+$/, 'expected an address such as http://127.0.0.1:8080/health'),
      status: statusRange.default('200-399').describe('which answers count as healthy'),
    }),
    z.strictObject({
      tcp: z.string().regex(/^\S+:\d{1,5}$/, 'expected HOST:PORT, such as 127.0.0.1:5432'),
    }),
  ])
  .describe('asked from this guest, after Compose calls the stack healthy');

/** `stacks.NAME.upgrade` */
export const stackUpgrade = z.strictObject({
  policy: z
    .enum(['auto', 'ask', 'never'])
    .default('ask')
    .describe('auto: upgrade apply --all --due upgrades it; ask: only a person does; never: nobody'),
  window: z
    .string()
    .refine((text) => parseWindow(text) !== null, 'expected a time of day from and to, such as "01:00-05:00"')
    .optional()
    .describe('when --due may upgrade it, local time'),
  probe: probe.optional(),
  auto_rollback_after: z
    .number()
    .int()
    .min(1)
    .max(100)
    .default(1)
    .describe('failed health checks in a row, after activation, until the old version is put back'),
});
export type StackUpgrade = z.output<typeof stackUpgrade>;

const bound = (defaultMs: number) => durationMs(formatDuration(defaultMs));
const defaults = defaultUpgradeBounds;

/** The section `upgrade`. Durations are milliseconds once parsed. */
export const upgradeSection = z.strictObject({
  block_file: z
    .string()
    .regex(/^\//, 'expected an absolute path')
    .default('/etc/felhom/upgrade.blocked')
    .describe('while this file exists, nothing is upgraded on this guest'),
  max_upgrade: bound(defaults.maxUpgradeMs).describe('the whole of it, from the first stop, until it counts as hung'),
  stable: bound(defaults.stableMs).describe(
    'how long nothing may restart or end until it counts as healthy; never below the longest start period',
  ),
  health_margin: bound(defaults.healthMarginMs).describe(
    'to be healthy beyond the start period, and for a probe to answer',
  ),
  look_every: bound(defaults.lookEveryMs).describe('between two looks of the health ladder'),
  retry: bound(defaults.retryMs).describe('between health checks that failed, where more than one may'),
  probe: bound(defaults.probeMs).describe('one try of a probe'),
  pull: bound(defaults.pullMs).describe('fetching one image'),
  registry: bound(defaults.registryMs).describe('asking a registry for a digest'),
  up: bound(defaults.upMs).describe('docker compose up, with the migrations that it waits for'),
  verify_limit: bound(defaults.verifyLimitMs).describe(
    'after activation, past which data is not rolled back without a person',
  ),
  min_free: sizeBytes('64MiB').describe('kept free beside what a snapshot and its restore take'),
});
export type UpgradeSection = z.output<typeof upgradeSection>;

/** The bounds of the upgrade core. */
export function upgradeBounds(from: UpgradeSection): UpgradeBounds {
  return {
    maxUpgradeMs: from.max_upgrade,
    stableMs: from.stable,
    healthMarginMs: from.health_margin,
    lookEveryMs: from.look_every,
    retryMs: from.retry,
    probeMs: from.probe,
    pullMs: from.pull,
    registryMs: from.registry,
    upMs: from.up,
    verifyLimitMs: from.verify_limit,
    minFreeBytes: from.min_free,
  };
}
