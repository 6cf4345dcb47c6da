import type { Desired } from '../reconcile/model.ts';

/**
 * Where the declaration comes from. `read` is called once for each pass.
 *
 * A mistake in one document is a problem in the answer, never an error: the other guests go on. Only a
 * place that cannot be read at all throws (Failure `config_invalid`): that is not the same as a place
 * with nothing in it, and nothing may be concluded from it.
 */
export interface DesiredProvider {
  read(): Promise<Desired>;
}
