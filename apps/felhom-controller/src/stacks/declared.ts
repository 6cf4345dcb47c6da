/** A stack that configuration declares to run. */
export interface DeclaredStack {
  /** The Compose project. */
  name: string;
  /** The services that should run; null: all that have a container, finished tasks excepted. */
  services: readonly string[] | null;
  companions: readonly DeclaredCompanion[];
}

/** A systemd unit of the stack's own: a timer for its cron job, a service for its exporter. */
export interface DeclaredCompanion {
  /** Its name, such as `nextcloud-cron.timer`. */
  unit: string;
  /** The file that holds its text: written where systemd knows no unit of that name. */
  file: string;
}
