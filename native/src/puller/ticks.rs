//! The broker's own clock in the log: one scheduled message a second in each partition.
//!
//! The schedules are messages of a stream of their own, TICKS, which VITALS takes its ticks from. A stream that schedules
//! messages also obeys the headers `Nats-Schedule` and `Nats-Rollup` of whoever may publish on it: a device could have
//! written in another patient's name, or erased the log (connectors/jetstream/streams.py).

/// The partition of a patient, as the server's `partition(n,1,2)` decides it: FNV-1a (32 bits) of both tokens.
pub fn partition_of(tenant: &str, patient: &str, partitions: u32) -> u32 {
    let fnv = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    tenant.bytes().chain(patient.bytes()).fold(2_166_136_261, fnv) % partitions
}

/// The smallest token that takes a tick (`vitals.v1.tick.<token>.broker.tick`) into a partition.
pub fn tick_token(partition: u32, partitions: u32) -> String {
    let mut tokens = (0_u32..).map(|token| token.to_string());
    tokens.find(|token| partition_of("tick", token, partitions) == partition).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_that_a_server_put_into_each_partition() {
        let tokens: Vec<String> = (0..8).map(|partition| tick_token(partition, 8)).collect();
        assert_eq!(tokens, ["4", "7", "2", "5", "0", "3", "6", "1"]);
        assert_eq!(tick_token(0, 1), "0");
    }
}
