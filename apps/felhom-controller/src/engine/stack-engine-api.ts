import { z } from 'zod';
import { readProject, upServices } from './compose-project.ts';
import { type EngineApi, type EngineApiOptions, openEngineApi, parseAnswer, refused } from './engine-api.ts';
import { type EngineAnswer, EngineHttp, type EngineRequest, errorText } from './engine-http.ts';
import { pullImage, unavailable } from './image-pull.ts';
import { registryAuth } from './registry-auth.ts';
import type { ImageState, StackEngine } from './stack-engine.ts';

const lookBoundMs = 10_000;

/** `GET /images/{name}/json` (Engine API 1.41 to 1.52), as far as we read it. */
const imageAnswer = z.object({
  Id: z.string(),
  RepoTags: z.array(z.string()).nullish(),
  RepoDigests: z.array(z.string()).nullish(),
  Size: z.number().nullish(),
});

/** `GET /images/json` */
const imagesAnswer = z.array(z.object({ RepoTags: z.array(z.string()).nullish() }));

/** `GET /distribution/{name}/json`: what the registry says of a name now. */
const distributionAnswer = z.object({ Descriptor: z.object({ digest: z.string() }) });

export type StackEngineApi = StackEngine & EngineApi;

/** The real engine, with all that an upgrade asks of it. */
export function openStackEngine(options: EngineApiOptions): StackEngineApi {
  const { socketPath, commands } = options;
  const http = new EngineHttp(socketPath);
  return {
    ...openEngineApi({ ...options, http }),
    ...imageCalls(http),
    pull: async (reference, request) => pullImage(commands, socketPath, reference, request),
    ...containerCalls(http),
    composeConfig: async (project, as) => readProject(commands, socketPath, project, as),
    composeUp: async (project, services, request) => upServices(commands, socketPath, project, services, request),
  };
}

type ImageCalls = Pick<StackEngine, 'image' | 'tag' | 'untag' | 'namesOf' | 'remoteDigest'>;

function imageCalls(http: EngineHttp): ImageCalls {
  return {
    image: async (reference) => {
      const answer = await http.call(get(`/images/${pathOf(reference)}/json`));
      if (answer.status === 404 || answer.status === 400) return null; // 400: what is no name at all.
      return toImage(parseAnswer(answer, imageAnswer, 'inspect'));
    },
    tag: async (imageId, reference) => {
      const { repo, tag } = splitTag(reference);
      const answer = await http.call({
        method: 'POST',
        path: `/images/${encodeURIComponent(imageId)}/tag`,
        query: { repo, tag },
        boundMs: lookBoundMs,
      });
      if (answer.status !== 201) throw refused(answer, 'tag', reference);
    },
    namesOf: async (repository) => {
      const filters = JSON.stringify({ reference: [repository] });
      const answer = await http.call({ ...get('/images/json'), query: { filters } });
      const names = parseAnswer(answer, imagesAnswer, 'list images').flatMap(({ RepoTags }) => RepoTags ?? []);
      return names.filter((name) => name.startsWith(`${repository}:`)).toSorted();
    },
    untag: async (reference) => {
      const path = `/images/${pathOf(reference)}`;
      const answer = await http.call({ method: 'DELETE', path, query: { noprune: '1' }, boundMs: lookBoundMs });
      // 409: a container needs the image, and it is its last name.
      if (![200, 404, 409].includes(answer.status)) throw refused(answer, 'untag', reference);
    },
    remoteDigest: async (reference, { boundMs }) => {
      const headers = await registryAuth(reference, process.env);
      const answer = await http.call({ ...get(`/distribution/${pathOf(reference)}/json`), headers, boundMs });
      const parsed = distributionAnswer.safeParse(answer.body);
      if (answer.status === 200 && parsed.success) return parsed.data.Descriptor.digest;
      throw unavailable(reference, errorText(answer));
    },
  };
}

type ContainerCalls = Pick<StackEngine, 'pinImage' | 'remove'>;

function containerCalls(http: EngineHttp): ContainerCalls {
  const post = async (path: string, body: unknown, query?: Record<string, string>): Promise<EngineAnswer> =>
    http.call({ method: 'POST', path, body, boundMs: lookBoundMs, ...(query === undefined ? {} : { query }) });
  return {
    pinImage: async ({ name, imageId, labels, volumes = [] }) => {
      const mounts = volumes.map(({ volume, target }) => ({ Type: 'volume', Source: volume, Target: target }));
      // An image without a command needs one to be created from; it never runs.
      const body = {
        Image: imageId,
        Cmd: ['true'],
        Labels: labels,
        HostConfig: { NetworkMode: 'none', Mounts: mounts },
      };
      const answer = await post('/containers/create', body, { name });
      if (answer.status !== 201 && answer.status !== 409) throw refused(answer, 'hold the image', imageId);
    },
    remove: async (id, { boundMs }) => {
      const answer = await http.call({
        method: 'DELETE',
        path: `/containers/${encodeURIComponent(id)}`,
        query: { force: '1', v: '0' },
        boundMs,
      });
      if (answer.status === 404) return 'gone';
      // 409: somebody else is removing it; whoever needs it gone looks again.
      if (answer.status !== 204 && answer.status !== 409) throw refused(answer, 'remove', id);
      return 'removed';
    },
  };
}

function get(path: string): EngineRequest {
  return { method: 'GET', path, boundMs: lookBoundMs };
}

/** An image's name in a path: its slashes and colons are its own, anything else is quoted. */
function pathOf(reference: string): string {
  return encodeURIComponent(reference).replaceAll('%2F', '/').replaceAll('%3A', ':').replaceAll('%40', '@');
}

function toImage(answer: z.infer<typeof imageAnswer>): ImageState {
  const none = (name: string): boolean => !name.startsWith('<none>');
  return {
    id: answer.Id,
    tags: (answer.RepoTags ?? []).filter(none),
    digests: (answer.RepoDigests ?? []).filter(none),
    sizeBytes: answer.Size ?? 0,
  };
}

/** `host:5000/app:2` → `host:5000/app` and `2`; without a tag it is `latest`. */
function splitTag(reference: string): { repo: string; tag: string } {
  const colon = reference.lastIndexOf(':');
  if (colon <= reference.lastIndexOf('/')) return { repo: reference, tag: 'latest' };
  return { repo: reference.slice(0, colon), tag: reference.slice(colon + 1) };
}
