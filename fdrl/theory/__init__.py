"""Theory of distillation in the kernel regime: squared loss, a constant neural tangent kernel.

Shapes used throughout: N training inputs, D their dimension, M workers, T times, L labels; "..."
is any number of output axes. Outputs are `f [N, ...]` of one network or `F [M, N, ...]` of M
workers; kernels are `K [N, N]`, shared, or `[M, N, N]`. Time is counted in gradient steps, so
a flow with learning rate eta obeys df/dt = -eta K dL/df. The setting is that of Seo et al.,
"Federated Knowledge Distillation" (arXiv 2011.02367); the formulas are derived here, and
`fdrl.theory.check` compares each with an integration of its differential equation.

    problem                     what is learned; the two-layer ReLU kernel, that of a torch network
    closed_forms, labels        solutions, their limits, stable learning rates, and energies
    networks, label_networks    finite two-layer networks, trained by gradient descent

Everything but `problem.empirical_ntk` needs NumPy alone.
"""
