import type { Dependency, Engine, RestartPolicy } from './engine.ts';

/**
 * What an upgrade asks of docker besides starting and stopping: images, Compose projects, and containers made and
 * removed. The same contract as `Engine`: every call is bounded, what is gone is a value, exit codes are not believed.
 */
export interface StackEngine extends Engine {
  /** By name, digest reference or id; null: the engine has no such image. */
  image(reference: string): Promise<ImageState | null>;
  /** Names an image. Moves the name when another image has it. */
  tag(imageId: string, reference: string): Promise<void>;
  /** Every name of an image in a repository, with its tag. */
  namesOf(repository: string): Promise<string[]>;
  /** Takes a name away. An image that has no other one, and no container, goes with it. Gone, or needed by a container: fine. */
  untag(reference: string): Promise<void>;
  /** Fetches an image. Throws Failure `image_unavailable` with the registry's words; what was there before stays. */
  pull(reference: string, request: { boundMs: number; signal?: AbortSignal }): Promise<void>;
  /** The digest under which the registry has this name now. Throws Failure `image_unavailable`. */
  remoteDigest(reference: string, request: { boundMs: number }): Promise<string>;
  setRestartPolicy(id: string, policy: { name: RestartPolicy; retries: number }): Promise<'updated' | 'gone'>;
  /** A container that is never started, with the volumes that are named. There already: fine. */
  pinImage(pin: IdleContainer): Promise<void>;
  /** Stops it at once where it runs, and removes it; its volumes stay, anonymous ones too. */
  remove(id: string, request: { boundMs: number }): Promise<'removed' | 'gone'>;
  /**
   * The project as Compose understands its files; with `as`, the hashes are those that its containers would have then.
   * Throws Failure `upgrade_blocked` with Compose's words.
   */
  composeConfig(project: ProjectFiles, as?: HashedAs): Promise<ProjectConfig>;
  /** Makes and starts exactly these services, without building, pulling, or starting what they depend on. Look afterwards. */
  composeUp(project: ProjectFiles, services: readonly string[], request: ComposeUpRequest): Promise<ComposeUpEnd>;
}

export interface IdleContainer {
  name: string;
  imageId: string;
  labels: Readonly<Record<string, string>>;
  volumes?: readonly { volume: string; target: string }[];
}

export interface ImageState {
  id: string;
  tags: string[];
  /** `repository@sha256:…`, as a registry knows it; none for an image that was loaded or built. */
  digests: string[];
  sizeBytes: number;
}

/** Where a Compose project lies. */
export interface ProjectFiles {
  project: string;
  composeFiles: readonly string[];
  envFiles: readonly string[];
  workingDir: string | null;
}

export interface ProjectConfig {
  services: ServiceConfig[];
}

/** What is not in the files, and in the hashes all the same. By service. */
export interface HashedAs {
  /** Other images than the files name. */
  images?: Readonly<Record<string, string>>;
  /** Ids of the containers in which others live (`network_mode: service:NAME`). */
  containers?: Readonly<Record<string, string>>;
}

export interface ServiceConfig {
  name: string;
  /** As it will be asked of the engine: what the file names, or what Compose calls the image it builds. */
  image: string;
  builds: boolean;
  pullPolicy: string | null;
  /** As Compose labels its containers with; where it lives in another one's, see `livesIn`. */
  hash: string;
  /** Services in whose namespaces it lives: Compose hashes the ids of their containers. */
  livesIn: string[];
  profiles: string[];
  dependsOn: Dependency[];
  labels: Record<string, string>;
}

export interface ComposeUpRequest {
  boundMs: number;
  /** The run lock: nobody else acts before Compose is over. */
  inheritFds: readonly number[];
}

export interface ComposeUpEnd {
  /** Compose's last words where it was not content; null: it was. Either way, look. */
  trouble: string | null;
}
