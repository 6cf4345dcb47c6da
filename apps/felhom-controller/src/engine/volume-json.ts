import { z } from 'zod';
import type { VolumeState } from './volume-engine.ts';

/** `GET /volumes/{name}` (Engine API 1.41 to 1.52), as far as we read it. */
export const volumeAnswer = z.object({
  Name: z.string(),
  Driver: z.string(),
  Mountpoint: z.string().nullish(),
  Options: z.record(z.string(), z.string()).nullish(),
});

export function toVolumeState({ Name, Driver, Mountpoint, Options }: z.infer<typeof volumeAnswer>): VolumeState {
  return { name: Name, driver: Driver, mountpoint: Mountpoint ?? '', options: Options ?? {} };
}
