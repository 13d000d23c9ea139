//! Messages that are objects, with addresses in them: whoever gets such a message can answer, and the answer
//! may have an address in it again, of somebody else.
//!
//! A customer here orders at a shop, which is a coroutine in a worker. The bill names the till where to pay, which is
//! another coroutine in that worker, and the payment where the receipt goes.
//!
//!     cargo run --release --example discoro_objects -- tea bread
//!     cargo run --release --example discoro_objects -- tea --peer 192.0.2.7:7341

mod dial;
mod farm;
mod say;

use anyhow::Context as _;
use clap::Parser;
use coros::cluster::worker;
use coros::{Address, Context};
use farm::Farm;
use say::say;
use serde::{Deserialize, Serialize};

/// Goes shopping in a worker.
#[derive(Parser)]
struct Args {
    /// What to buy.
    #[arg(required = true)]
    goods: Vec<String>,

    #[command(flatten)]
    farm: Farm,
}

#[derive(Serialize, Deserialize)]
struct Order {
    goods: String,
    customer: Address<ToCustomer>,
}

#[derive(Serialize, Deserialize)]
struct Bill {
    goods: String,
    cents: u64,
    till: Address<Payment>,
}

#[derive(Serialize, Deserialize)]
struct Payment {
    cents: u64,
    goods: String,
    receipt_to: Address<ToCustomer>,
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    goods: String,
    number: u32,
    signed: String,
}

/// All that a customer gets.
#[derive(Serialize, Deserialize)]
enum ToCustomer {
    Open(Address<Order>),
    Bill(Bill),
    Receipt(Receipt),
}

/// Takes payments, for as long as somebody has its address.
async fn till(mut me: Context<Payment>, worker: String) {
    let mut number = 0;
    while let Some(payment) = me.receive().await {
        number += 1;
        let receipt = Receipt {
            number,
            goods: format!("{} for {} cents", payment.goods, payment.cents),
            signed: worker.clone(),
        };
        // A customer who has gone needs none.
        drop(payment.receipt_to.send(ToCustomer::Receipt(receipt)));
    }
}

/// Takes so many orders.
#[coros::remote]
async fn shop(
    mut me: Context<Order>,
    orders: usize,
    customer: Address<ToCustomer>,
) -> anyhow::Result<()> {
    let worker = worker::name().unwrap_or("nobody").to_owned();
    let till = coros::spawn(move |me| till(me, worker));
    customer.send(ToCustomer::Open(me.address()))?;
    drop(customer);
    for _ in 0..orders {
        let order = me.receive().await.context("nobody can order any more")?;
        let bill = Bill {
            cents: 100 + 10 * order.goods.len() as u64,
            goods: order.goods,
            till: till.address(),
        };
        order.customer.send(ToCustomer::Bill(bill))?;
    }
    Ok(till.join().await?)
}

async fn customer(mut me: Context<ToCustomer>, goods: Vec<String>) -> anyhow::Result<()> {
    let mut receipts = 0;
    while receipts < goods.len() {
        match me.receive().await.context("the shop is gone")? {
            ToCustomer::Open(shop) => {
                for goods in goods.clone() {
                    let customer = me.address();
                    shop.send(Order { goods, customer })?;
                }
            }
            ToCustomer::Bill(Bill { goods, cents, till }) => {
                say!("{goods} costs {cents} cents");
                let receipt_to = me.address();
                till.send(Payment {
                    cents,
                    goods,
                    receipt_to,
                })?;
            }
            ToCustomer::Receipt(Receipt {
                goods,
                number,
                signed,
            }) => {
                receipts += 1;
                say!("receipt {number}: {goods}, signed by {signed}");
            }
        }
    }
    Ok(())
}

#[coros::main]
async fn main() -> anyhow::Result<()> {
    let Args { goods, farm } = Args::parse();
    let scheduler = farm.scheduler().await?.start().await?;
    let orders = goods.len();
    let customer = coros::spawn(move |me| customer(me, goods));
    let job = scheduler.submit(shop(orders, customer.address()));
    job.await?;
    customer.join().await??;
    scheduler.close().await?;
    Ok(())
}
