// `corral/net`: everything of `node:net`, and with `{ ipc: true }` channels for messages and handles.

import type { SendHandle } from 'node:child_process';
import { EventEmitter } from 'node:events';
import type { FileHandle } from 'node:fs/promises';
import type * as net from 'node:net';

export * from 'node:net';

/** A process at the other end, as the kernel knows it. */
export interface Peer {
  /** When it connected, or began to listen; 0 if it is of another PID namespace. */
  pid: number;
  uid: number;
  gid: number;
}

/** `net.BoundSocket`, where Node and its types have it. */
type Bound = typeof net extends { BoundSocket: new (...args: never) => infer B } ? B : never;

/** What can be sent along with a message: as in `subprocess.send`, and files. A BoundSocket that is bound to a path cannot. */
export type Handle = SendHandle | Bound | number | FileHandle;

/** What arrives with a message; a file arrives as a descriptor, which is the receiver's to close. */
export type ReceivedHandle = SendHandle | Bound | number | undefined;

/** As in `subprocess.send`. */
export interface SendOptions {
  /** Keeps a net.Socket open in this process. Default: `false`. */
  keepOpen?: boolean | undefined;
  swallowErrors?: boolean | undefined;
}

export type SendCallback = (error: Error | null) => void;

export interface RequestOptions {
  /** How long to wait for the reply, in milliseconds; by default without end. */
  timeout?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** What a server and a client have in common. */
export interface ChannelOptions {
  ipc: true;
  /** How messages are written, at both ends. Default: `'json'`. */
  serialization?: 'json' | 'advanced' | undefined;
  /** The largest message that is taken, in bytes as they travel. Default: 64 MiB. */
  maxMessageSize?: number | undefined;
  /** How many bytes may wait to be sent, on each channel, before `send` fails. Default: 64 MiB. */
  maxQueuedBytes?: number | undefined;
  /** How long the other side may take until there is a channel, in milliseconds. Default: 10,000. */
  handshakeTimeout?: number | undefined;
  /** Asked about processes that run as another user, root's excepted, which are refused otherwise. */
  allow?: ((peer: Peer) => boolean | Promise<boolean>) | undefined;
}

export interface ChannelServerOptions extends ChannelOptions {
  /** How many channels there may be; who comes then is refused and told so. */
  maxConnections?: number | undefined;
}

export interface Reconnect {
  /** Before the first attempt, in milliseconds; doubled for each further one. Default: 100. */
  minDelay?: number | undefined;
  /** Default: 10,000. */
  maxDelay?: number | undefined;
  /** Which part of each delay is left to chance, from 0 to 1. Default: 0.5. */
  jitter?: number | undefined;
}

export interface ChannelConnectOptions extends ChannelOptions {
  /** A path or, on Linux, an abstract name, which begins with a NUL character. */
  path: string;
  /** Whether to connect again when the connection is lost or cannot be made. Default: `false`. */
  reconnect?: boolean | Reconnect | undefined;
}

export interface ChannelListenOptions {
  /** A path or, on Linux, an abstract name, which begins with a NUL character. */
  path: string;
  backlog?: number | undefined;
  /** Widens the mode of the socket's file, which is 0600. Default: `false`. */
  readableAll?: boolean | undefined;
  /** Widens the mode of the socket's file, which is 0600: other users can connect if `allow` lets them. Default: `false`. */
  writableAll?: boolean | undefined;
  /** Closes the server. */
  signal?: AbortSignal | undefined;
}

interface ChannelEvents {
  connect: [];
  message: [message: any, handle: ReceivedHandle];
  /** `send` has returned false and nothing waits any more. */
  drain: [];
  disconnect: [];
  reconnecting: [about: { attempt: number; delay: number; cause: Error | undefined }];
  /**
   * What `send` says of a message without a callback, and why a channel has ended or never came about: the peer
   * broke the protocol (`ERR_CORRAL_BAD_FRAME`) or sent more than `maxMessageSize` (`ERR_CORRAL_FRAME_TOO_LARGE`).
   * Of a client also: there is no corral at the path (`ERR_CORRAL_BAD_HANDSHAKE`), or another version of it
   * (`ERR_CORRAL_VERSION`), or one with another serialization (`ERR_CORRAL_SERIALIZATION`) or another user
   * (`ERR_CORRAL_PEER_NOT_ALLOWED`); the server has enough clients (`ERR_CORRAL_TOO_MANY_CONNECTIONS`), or took too
   * long (`ERR_CORRAL_HANDSHAKE_TIMEOUT`); and the codes of `net`. All codes: docs/errors.md, among them
   * `ERR_CORRAL_REACTOR_GONE`, which is thrown, or a warning, when corral itself has failed.
   */
  error: [error: NodeJS.ErrnoException];
  /** The last event. */
  close: [];
}

/** A connection that carries messages and handles, with the semantics of `subprocess.send`. */
export class Channel extends EventEmitter<ChannelEvents> {
  private constructor();
  readonly connecting: boolean;
  readonly connected: boolean;
  readonly path: string;
  /** Who is at the other end, once connected. */
  readonly peer: Peer | undefined;
  /** As `subprocess.channel`; null once disconnected. */
  readonly channel: { ref(): void; unref(): void; readonly fd: number } | null;
  /**
   * Sends a message. Before the channel is connected it waits.
   *
   * Returns false when the peer is behind; 'drain' tells when it is not any more. The callback, or without one an
   * 'error' event, gets `ERR_IPC_CHANNEL_CLOSED`, `ERR_CORRAL_QUEUE_FULL`, `ERR_CORRAL_MESSAGE_TOO_LARGE`.
   */
  send(message: any, callback?: SendCallback): boolean;
  send(message: any, handle: Handle | undefined, callback?: SendCallback): boolean;
  send(
    message: any,
    handle: Handle | undefined,
    options: SendOptions | undefined,
    callback?: SendCallback,
  ): boolean;
  /**
   * Asks the peer, whose `respond` answers. Rejects with the peer's error, `ERR_CORRAL_NO_HANDLER`,
   * `ERR_CORRAL_REQUEST_TIMEOUT`, `ABORT_ERR`, `ERR_CORRAL_NO_REPLY` when the connection ended before, or
   * `ERR_IPC_CHANNEL_CLOSED` on a channel that is closed.
   */
  request<Reply = any>(message: any, options?: RequestOptions): Promise<Reply>;
  /** Answers the peer's requests: with what is returned, or thrown. */
  respond(responder: ((this: this, message: any, handle: ReceivedHandle) => any) | undefined): this;
  /** Closes the channel when what waits has been sent. */
  disconnect(): void;
  /** Closes the channel at once. */
  destroy(): this;
  /** Receives no more for now, nor the end; the peer has to wait. */
  pause(): this;
  resume(): this;
  isPaused(): boolean;
  ref(): this;
  unref(): this;
  /**
   * The messages, until the channel disconnects. A loop that is slow makes the peer wait; one that is left leaves what it
   * has not had to the next listener. Handles are only to be had by 'message'.
   */
  [Symbol.asyncIterator](): AsyncGenerator<any, void, undefined>;
}

interface ChannelServerEvents {
  listening: [];
  connection: [channel: Channel];
  /**
   * A client was refused, and there is no channel (`ERR_CORRAL_BAD_HANDSHAKE`, `ERR_CORRAL_VERSION`,
   * `ERR_CORRAL_SERIALIZATION`, `ERR_CORRAL_PEER_NOT_ALLOWED`, `ERR_CORRAL_HANDSHAKE_TIMEOUT`); or something is
   * wrong with a channel that has no 'error' listener: its peer broke the protocol (`ERR_CORRAL_BAD_FRAME`,
   * `ERR_CORRAL_FRAME_TOO_LARGE`), or a message without a callback could not be sent, also one of `broadcast`
   * (`ERR_CORRAL_QUEUE_FULL`, `ERR_CORRAL_MESSAGE_TOO_LARGE`, `ERR_IPC_CHANNEL_CLOSED`, `EPIPE`). A process warning
   * if nobody listens, once for each code.
   *
   * `error.count` is how many clients were refused, where some were: 1 as a rule. If more than 64 come in 100 ms,
   * or before this process comes to hear of them, one event for each code tells how many there were beyond that,
   * and who was the last. So it is with 'drop'.
   */
  clientError: [error: NodeJS.ErrnoException & { count?: number }, peer: Peer, channel: Channel | undefined];
  /** A client was refused for `maxConnections`, or because `allow` has 256 others to decide on. */
  drop: [about: { peer: Peer; path: string; count: number }];
  /** What `listen` has failed with, or what `allow` has thrown. */
  error: [error: NodeJS.ErrnoException];
  close: [];
}

/** A server whose connections are channels. */
export class ChannelServer extends EventEmitter<ChannelServerEvents> {
  private constructor();
  readonly listening: boolean;
  readonly connections: ReadonlySet<Channel>;
  maxConnections: number | undefined;
  /**
   * Listens at a path. Errors, as events: `EADDRINUSE` when somebody listens there or the file is no socket,
   * `ERR_CORRAL_UNSAFE_DIRECTORY` when others, or a group, could replace the socket, and those of `net`.
   */
  listen(path: string, callback?: () => void): this;
  listen(path: string, backlog: number, callback?: () => void): this;
  listen(options: ChannelListenOptions, callback?: () => void): this;
  address(): string | null;
  getConnections(callback: (error: Error | null, count: number) => void): this;
  /**
   * Sends a message to all. Returns false when some of them are behind. Those that have gone are passed over; where it cannot
   * be sent for another reason the channel has an 'error' event, or the server 'clientError'.
   */
  broadcast(message: any): boolean;
  /** Listens no more; 'close' comes when the last channel has gone. */
  close(callback?: (error?: Error) => void): this;
  /** As `close`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
  ref(): this;
  unref(): this;
}

export function createServer(
  options: ChannelServerOptions,
  connectionListener?: (channel: Channel) => void,
): ChannelServer;
export function createServer(connectionListener?: (socket: net.Socket) => void): net.Server;
export function createServer(
  options?: net.ServerOpts & { ipc?: false | undefined },
  connectionListener?: (socket: net.Socket) => void,
): net.Server;

export function connect(options: ChannelConnectOptions, connectListener?: () => void): Channel;
export function connect(options: net.NetConnectOpts, connectionListener?: () => void): net.Socket;
export function connect(port: number, host?: string, connectionListener?: () => void): net.Socket;
export function connect(path: string, connectionListener?: () => void): net.Socket;

export const createConnection: typeof connect;
