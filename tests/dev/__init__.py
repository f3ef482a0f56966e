"""The development cluster: kind's configuration, what is applied first, the Tiltfile and the scripts behind them."""
