/** What configuration says about single stacks. */
export interface StackPolicy {
  /** `keep`: never stopped. */
  quiesce?: 'keep' | 'stop';
  /** `service: command`, run in that service before the stack is stopped. */
  before_stop?: string;
  /** `service: command`, owed to the stack once it runs again. */
  after_start?: string;
}

/** By stack name: a Compose project, or a plain container's name. */
export interface QuiescePolicy {
  stacks: Readonly<Record<string, StackPolicy>>;
}
