import type { IncomingMessage, RequestListener } from 'node:http';
import { apiVersion, headers } from '@felhom/guest-api/schema.ts';
import { findGuest } from './auth.ts';
import { type Call, type GuestApi, guestCalls } from './guest-calls.ts';
import { type Answer, HttpProblem, listener, urlOf } from './http.ts';
import { bootOf, judgeIdentity } from './identity.ts';

/** The guest API as a listener for node:https. */
export function guestApiListener(api: GuestApi): RequestListener {
  const underWay = new Map<number, number>();
  return listener(async (request, gone) => {
    const url = urlOf(request);
    if (request.method === 'GET' && url.pathname === '/healthz') return { status: 200, body: { ok: true } };
    if (request.method === 'GET' && url.pathname === '/metrics')
      return { status: 200, body: api.metrics(), type: 'text' };
    const vmid = authenticate(api, request);
    const count = underWay.get(vmid) ?? 0;
    if (count >= api.config.limits.per_guest) throw tooMany();
    underWay.set(vmid, count + 1);
    try {
      return await answer(api, { vmid, request, url, gone });
    } finally {
      underWay.set(vmid, (underWay.get(vmid) ?? 1) - 1);
    }
  });
}

function authenticate(api: GuestApi, request: IncomingMessage): number {
  const vmid = findGuest(request.headers.authorization, api.guests.tokens());
  if (vmid !== null) return vmid;
  throw new HttpProblem(401, {
    code: 'unauthorized',
    message: 'the token is missing, wrong or revoked; nothing was started, the apps keep running',
    hint: 'Make a new one on the host: felhom-agent guest adopt VMID --token-out FILE',
  });
}

function tooMany(): HttpProblem {
  return new HttpProblem(429, {
    code: 'busy',
    message: 'too many requests of this guest are under way; nothing was started',
    hint: 'Wait for their answers.',
  });
}

async function answer(api: GuestApi, call: Call): Promise<Answer> {
  checkVersion(call.request);
  const next = await identify(api, call);
  const node = await api.movedTo(call.vmid);
  if (node !== null) {
    const text = {
      code: 'refused',
      message: `guest ${call.vmid} lives on node ${node}; nothing was started here`,
      hint: `Name the agent of ${node} in the controller's configuration.`,
    };
    throw new HttpProblem(421, { ...text, extra: { node } });
  }
  api.heard(call.vmid);
  const { pathname } = call.url;
  const here = guestCalls.filter((route) => route.path.test(pathname));
  const route = here.find((each) => each.method === call.request.method);
  if (route === undefined) throw noSuchCall(call.request.method ?? '', pathname, here.length > 0);
  const result = await route.handle(api, call, route.path.exec(pathname)?.slice(1) ?? []);
  // An offer may have been made while the answer was held back.
  const { offered, adopting } = api.guests.entry(call.vmid).identity;
  const offer = next ?? (adopting === null ? offered : null);
  return offer === null
    ? result
    : { ...result, headers: { ...result.headers, [headers.nextGeneration]: String(offer) } };
}

function noSuchCall(method: string, pathname: string, pathExists: boolean): HttpProblem {
  const hint = 'The calls of this API are listed in docs/architecture.md, section 4.';
  return new HttpProblem(pathExists ? 405 : 404, {
    code: 'not_found',
    message: `there is no ${method} ${pathname}`,
    hint,
  });
}

function checkVersion(request: IncomingMessage): void {
  const word = request.headers[headers.api];
  if (word === undefined || word === String(apiVersion)) return;
  throw new HttpProblem(400, {
    code: 'usage',
    message: `this agent speaks version ${apiVersion} of the API, not ${String(word)}; nothing was started`,
    hint: 'Install matching versions of felhom-agent and felhom-controller.',
  });
}

/** Tells the guest from its copies. Answers the generation to offer. */
async function identify(api: GuestApi, { vmid, request }: Call): Promise<number | null> {
  const generation = request.headers[headers.generation];
  const bootId = request.headers[headers.bootId];
  const started = request.headers[headers.bootStarted];
  if (
    typeof generation !== 'string' ||
    !/^\d{1,15}$/.test(generation) ||
    typeof bootId !== 'string' ||
    !/^[A-Za-z0-9._:-]{1,128}$/.test(bootId) ||
    (started !== undefined && (typeof started !== 'string' || !/^\d{1,20}$/.test(started)))
  ) {
    throw new HttpProblem(400, {
      code: 'usage',
      message: `the headers ${headers.generation} (a whole number) and ${headers.bootId} are needed, ${headers.bootStarted} is a whole number; nothing was started`,
      hint: 'A guest that was never here before presents generation 0.',
    });
  }
  const at = new Date(api.clock.nowMs()).toISOString();
  const presented = { generation: Number(generation), bootId: bootOf(bootId, started) };
  const verdict = judgeIdentity(api.guests.entry(vmid).identity, presented, at);
  if (verdict.changed) {
    await api.guests
      .set(vmid, { identity: verdict.identity })
      .catch((error: unknown) => api.log('what is known of a guest is not on disk', { vmid, error: String(error) }));
    api.refusedAlert(vmid, verdict.identity.refused?.reason ?? null);
  }
  if (verdict.kind === 'accepted') return verdict.next;
  const copy = verdict.reason === 'restored_copy';
  throw new HttpProblem(409, {
    code: verdict.reason,
    message: copy
      ? `this is a restored copy of guest ${vmid} (generation ${generation}, in force is ${verdict.identity.generation}); nothing was started or recorded`
      : `two guests take turns as guest ${vmid}; neither is served, nothing was started`,
    hint: `If this one is the guest from now on, on the host: felhom-agent guest adopt ${vmid}`,
  });
}
