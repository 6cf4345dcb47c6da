/**
 * As whom PostgreSQL runs in a container. Where the lab is root's, the image decides. Where it is a user's, the user
 * must own the data, or the simulator could not copy the guest: then its number is used, and its name is made known.
 */
export interface ContainerIdentity {
  /** Flags of `docker run`. */
  flags: readonly string[];
  /** A line of a Compose service. */
  compose: string;
  /** A line of its volumes. */
  composeVolumes: string;
}

export function containerIdentity(): ContainerIdentity {
  const user = process.getuid?.() ?? 0;
  if (user === 0) return { flags: [], compose: '', composeVolumes: '' };
  const numbers = `${user}:${process.getgid?.() ?? user}`;
  const names = '/etc/passwd:/etc/passwd:ro';
  return {
    flags: ['--user', numbers, '--volume', names],
    compose: `    user: "${numbers}"\n`,
    composeVolumes: `      - ${names}\n`,
  };
}
