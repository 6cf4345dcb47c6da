import { z } from 'zod';

/** Something that a person has to know, kept until a person has said so. */
export const alert = z.object({
  id: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/),
  stack: z.string(),
  /** What was tried: images by service, as a person wrote them. */
  attempted: z.string(),
  last_good: z.string(),
  /** The old version runs again, and is as healthy as it was. */
  recovered: z.boolean(),
  at: z.string(),
  message: z.string(),
  /** What a person types next. */
  hint: z.string(),
  acked_at: z.string().nullable(),
});
export type Alert = z.infer<typeof alert>;

export const alertVersion = 1;

/** Where alerts are kept. Raising one twice is one alert. */
export interface AlertPort {
  raise(raised: Omit<Alert, 'acked_at'>): Promise<void>;
}
