import { Failure } from '@felhom/kernel/failure.ts';
import type { OwedContainer } from './result.ts';

/** The loudest failure we have: names what is down, why, and what to type. */
export function appsDown(owed: readonly OwedContainer[]): Failure {
  const names = owed.map(({ stack, container }) => `${stack}/${container}`).join(', ');
  const why = [...new Set(owed.map((each) => each.why))].join('; ');
  return new Failure('apps_down', {
    message: `apps are DOWN and could not be brought back: ${names} (${why})`,
    hint: `Bring them up by hand (docker start NAME), then: felhom-controller recover. It is tried again every minute. To give them up: felhom-controller recover --forgive ${owed[0]?.stack ?? 'STACK'}`,
  });
}
